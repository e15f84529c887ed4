package publisher

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/issuer-sync/issuer-sync/internal/state"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// readState returns what state.Read does, and a *foreignStateError for the
// state of another issuer.
func (p *Publisher) readState(ctx context.Context) (state.State, oidc.Version, error) {
	remembered, version, err := state.Read(ctx, p.state)
	if issuer := p.config.Issuer.String(); err == nil && remembered.Issuer != issuer {
		return state.State{}, "", &foreignStateError{remembered.Issuer, issuer}
	}
	return remembered, version, err
}

// foreignStateError says that the state is that of another issuer.
type foreignStateError struct{ actual, configured string }

func (e *foreignStateError) Error() string {
	return fmt.Sprintf("the state is that of issuer %q; give %q a store of its own, or delete %s", e.actual, e.configured, state.Path)
}

// errMissing says that there is no state.
var errMissing = errors.New("it is missing")

// recalled is the state as it was read.
type recalled struct {
	state.State
	// lost says why there is none although something may be published; nil if
	// there is one, or none is to be expected.
	lost error
	// from is where the state was found instead of in its store; nil if it was there.
	from *keeper
}

// recall reads the state. One that is absent or damaged is replaced by an empty
// one.
func (p *Publisher) recall(ctx context.Context, plan bool) (recalled, oidc.Version, error) {
	if err := p.stateFault(); err != nil {
		return recalled{}, "", err
	}
	remembered, version, err := p.readState(ctx)
	if answered(err) {
		p.stateBackoff.answered()
	} else {
		p.stateFailed(err)
	}
	ours := recalled{State: remembered}
	empty := state.State{Issuer: p.config.Issuer.String()}
	switch {
	case errors.Is(err, oidc.ErrNotFound), errors.Is(err, state.ErrMoved):
		ours = recalled{State: empty, lost: errMissing}
	case errors.Is(err, state.ErrDamaged):
		ours = recalled{State: empty, lost: err}
	case err != nil:
		return recalled{}, "", err
	}
	ours, err = p.settleStrays(ctx, ours, plan)
	return ours, version, err
}

// answered reports whether the store could be read, whatever it holds.
func answered(err error) bool {
	_, foreign := errors.AsType[*foreignStateError](err)
	return err == nil || foreign ||
		errors.Is(err, oidc.ErrNotFound) || errors.Is(err, state.ErrDamaged) || errors.Is(err, state.ErrMoved)
}

// stateFault is why the state cannot be read just now, if that is known.
func (p *Publisher) stateFault() error {
	if first := p.keepers[0]; p.config.State == nil && first.last.err != nil {
		return fmt.Errorf("the state is in store %q: %w", first.Name, first.fault())
	}
	if !p.stateBackoff.due() {
		return p.stateBackoff.err // still, until it is asked again
	}
	return nil
}

// stateFailed has the store of the state left alone for a while.
func (p *Publisher) stateFailed(err error) {
	p.stateBackoff.note(err, p.config.Interval)
	if p.config.State == nil {
		p.keepers[0].last.err = err
	}
}

// adopt returns the keys of the stores that the state does not know yet, and
// the names of those stores. If the state was lost these are all that hold
// anything.
func (p *Publisher) adopt(remembered recalled, found *findings) (adopted keys.Set, stores []string) {
	var from []string
	for _, k := range p.keepers {
		if k.last.err != nil || remembered.Knows(k.Name) {
			continue
		}
		stores = append(stores, k.Name)
		if k.last.holding.Keys.Len() > 0 {
			from = append(from, k.Name)
		}
		if len(k.last.holding.Damage) > 0 {
			found.forgotten = fmt.Errorf("store %s: its JWK set could not be read whole and nobody remembers it: keys that only it had are lost: %w", k.Name, k.last.holding.Damage[0])
		}
		adopted = join(adopted, k.last.holding.Keys)
	}
	switch {
	case remembered.lost != nil && (len(from) > 0 || !errors.Is(remembered.lost, errMissing)):
		found.events = append(found.events, keys.Alarm{Kind: AlarmAdopted, KeyIDs: adopted.IDs(), Text: fmt.Sprintf(
			"the state could not be read (%v), so the %d published keys were taken over; normal once after an upgrade; otherwise find out who may write to the store, and revoke again what was revoked", remembered.lost, adopted.Len())})
	case len(from) > 0:
		found.warnings = append(found.warnings, fmt.Sprintf("took over the %d keys that %s held already", adopted.Len(), strings.Join(from, " and ")))
	}
	return adopted, stores
}

// join is keys.Union in which the first of two clashing keys stays.
func join(a, b keys.Set) keys.Set {
	joined, err := keys.Union(a, b.Without(a))
	if err != nil {
		return a
	}
	return joined
}
