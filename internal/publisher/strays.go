package publisher

import (
	"context"
	"errors"
	"fmt"

	"github.com/issuer-sync/issuer-sync/internal/state"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// stray is a state in a store that is not the one for it, because the
// configuration named that store for it once.
type stray struct {
	state.State
	version oidc.Version
}

// findStray reads the state that a store should not have; nil if it has none.
func findStray(ctx context.Context, store oidc.Store, issuer oidc.Issuer) (*stray, error) {
	remembered, version, err := state.Read(ctx, store)
	switch {
	case err == nil && remembered.Issuer == issuer.String():
		return &stray{remembered, version}, nil
	case err == nil, errors.Is(err, oidc.ErrNotFound), errors.Is(err, state.ErrMoved), errors.Is(err, state.ErrDamaged):
		return nil, nil
	default:
		return nil, err
	}
}

// settleStrays makes sure that there is one state: it continues that of another
// store if there is none where it should be. Between two nobody can choose: in
// one of them a revocation may be missing. It looks at what each store held
// when this process first read it.
func (p *Publisher) settleStrays(ctx context.Context, ours recalled, plan bool) (recalled, error) {
	for _, k := range p.keepers {
		if k.stray == nil {
			continue
		}
		digest, err := k.stray.Digest()
		if err != nil {
			return ours, err
		}
		switch {
		case ours.lost == nil && ours.MovedFrom == digest && ours.from == nil: // it was taken over, and must be abandoned still
			if plan {
				continue
			}
			err := state.Abandon(ctx, k.Store, k.issuer.String(), k.stray.version)
			if err != nil && !errors.Is(err, oidc.ErrConflict) {
				return ours, err
			}
			// After a conflict, as when the documents there share its version, the next look finds it again.
			k.stray, k.strayKnown = nil, err == nil
		case ours.lost == nil:
			return ours, fmt.Errorf("%s and store %q hold a state each: decide which is right, delete %s in the other, and start again; in the wrong one a revocation may be missing", p.placeOf(ours), k.Name, state.Path)
		default:
			ours = recalled{State: k.stray.State, from: k}
			ours.MovedFrom = digest
		}
	}
	return ours, nil
}

// placeOf names the place where a state was found.
func (p *Publisher) placeOf(ours recalled) string {
	switch {
	case ours.from != nil:
		return fmt.Sprintf("store %q", ours.from.Name)
	case p.config.State != nil:
		return "the state's store"
	default:
		return fmt.Sprintf("store %q", p.keepers[0].Name)
	}
}
