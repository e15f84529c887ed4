package publisher

import (
	"context"

	"github.com/issuer-sync/issuer-sync/internal/state"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// follow is the round of a replica that does not lead: it serves what the state
// says, so that all replicas serve the same.
func (p *Publisher) follow(ctx context.Context, round *Round) {
	round.Following = true
	if !p.stateBackoff.due() {
		round.fault("state", p.stateBackoff.err) // still, until it is asked again
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	remembered, _, err := p.readState(ctx)
	p.stateBackoff.note(err, p.config.Interval)
	if err != nil {
		round.fault("state", err)
		return
	}
	p.stateChanged = remembered.Changed
	all := p.statuses(remembered)
	round.keys(all)
	for _, status := range all {
		if until := status.Until; until.After(round.Time) && (round.NextChange.IsZero() || until.Before(round.NextChange)) {
			round.NextChange = until
		}
	}
	if err := p.serve(remembered.Published()); err != nil {
		round.fault("serving", err)
	}
}

// statuses are the keys of a state, without a look at the sources.
func (p *Publisher) statuses(remembered state.State) (all []keys.Status) {
	now := p.watch.now().Earliest
	for _, record := range remembered.Records {
		phase, until := record.Phase(now, p.config.Policy)
		all = append(all, keys.Status{Record: record, Phase: phase, Until: until})
	}
	return all
}
