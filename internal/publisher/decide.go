package publisher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/state"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// decided is the outcome of one decision.
type decided struct {
	projection projection // of the state as it is now
	moved      bool       // the state was changed, or in a plan would be
	before     string     // the state before it moved, rendered
	// sameDocuments says that it moved without a change to what is published.
	sameDocuments bool
	// unconfirmed says that some of its keys were not found published yet.
	unconfirmed bool
}

// decide reads the state, decides on what was gathered, and if that changes the
// state, writes it: the state comes first, the documents follow. A plan does
// not write. What it finds is added to the round.
func (p *Publisher) decide(ctx context.Context, g gathered, round *Round, plan bool) (decided, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	for range conflictTries {
		outcome, err := p.decideOnce(ctx, g, round, plan)
		if errors.Is(err, oidc.ErrConflict) {
			continue
		}
		if err == nil && p.config.State != nil {
			p.stateBackoff.note(nil, p.config.Interval)
		}
		return outcome, err
	}
	return decided{}, fmt.Errorf("writing the state: %w", oidc.ErrConflict)
}

// decideOnce is decide without another try after a conflict.
func (p *Publisher) decideOnce(ctx context.Context, g gathered, round *Round, plan bool) (decided, error) {
	remembered, version, err := p.recall(ctx, plan)
	if err != nil {
		return decided{}, err
	}
	before, err := remembered.Render()
	if err != nil {
		return decided{}, err
	}
	findings := new(findings)
	next, decision := p.next(remembered, string(before), g, findings)
	if len(decision.Records) == 0 {
		return decided{}, g.noKeys()
	}
	outcome, err := p.compare(remembered, string(before), next)
	if err == nil && outcome.moved && !plan {
		err = p.remember(ctx, next, version)
	}
	if err != nil {
		return decided{}, err
	}
	if !plan {
		p.stateChanged = next.Changed
	}
	round.decided(decision, *findings)
	round.StateMissing = round.StateMissing || remembered.lost != nil
	round.StateWritten = round.StateWritten || outcome.moved || plan && outcome.unconfirmed
	return outcome, nil
}

// next decides what the state should be after the remembered one, which was
// rendered as before.
func (p *Publisher) next(remembered recalled, before string, g gathered, found *findings) (state.State, keys.Decision) {
	found.alarms = append(found.alarms, p.config.Cautions...)
	observations, matched := p.checkDrift(remembered.State, g, found)
	adopt, stores := p.adopt(remembered, found)
	p.checkEdits(remembered.State, before, found)
	now := g.now(p.watch.now())
	decision := keys.Decide(keys.Situation{
		Now: now, First: firstPublication(remembered.State, now), Records: remembered.Records, Adopt: adopt,
		Observations: observations, Signing: g.signing(), Held: held(p.keepers, before), Policy: p.config.Policy,
	})
	found.alarms = append(found.alarms, decision.Alarms...)
	if remembered.from != nil {
		found.warnings = append(found.warnings, fmt.Sprintf("took over the state that was in store %s", remembered.from.Name))
	}
	next := remembered.With(decision.Records, stores, matched)
	next.Settled = remembered.Settled || remembered.lost != nil && adopt.Len() > 0 || !slices.ContainsFunc(observations, incomplete)
	return next.Since(remembered.State, now.Latest), decision
}

func incomplete(o keys.Observation) bool { return !o.Answered() || o.Partial }

// firstWindow bounds the first publication where an origin never answers.
const firstWindow = 10 * time.Minute

// firstPublication reports whether the first publication has begun and still
// waits for origins: what they show may sign already.
func firstPublication(remembered state.State, now keys.Moment) bool {
	if remembered.Settled || len(remembered.Records) == 0 {
		return false // over, or not begun
	}
	for _, record := range remembered.Records {
		if now.Latest.Sub(record.Seen) > firstWindow {
			return false
		}
	}
	return true
}

// compare returns the projection of the next state, and how it differs from the
// remembered one, which was rendered as before. One that was found elsewhere
// moves in any case: to its store.
func (p *Publisher) compare(remembered recalled, before string, next state.State) (decided, error) {
	projection, err := p.project(next)
	return decided{
		projection: projection, moved: before != projection.state || remembered.from != nil, before: before,
		sameDocuments: remembered.Published().Equal(projection.documents.Keys),
		unconfirmed:   slices.ContainsFunc(next.Records, unconfirmed),
	}, err
}

// unconfirmed reports whether the key is published but was not found to be.
func unconfirmed(r keys.Record) bool { return r.Revoked.IsZero() && r.Published.IsZero() }

// remember writes the state, unless the process was stopped for so long since it
// decided that what it saw is out of date. The context's own timer may not have
// noticed yet.
func (p *Publisher) remember(ctx context.Context, next state.State, base oidc.Version) error {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	err := state.Write(ctx, p.state, next, base)
	if err != nil && !errors.Is(err, oidc.ErrConflict) {
		p.stateFailed(err)
	}
	return err
}
