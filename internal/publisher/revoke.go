package publisher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/state"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// Revocation is what [Publisher.Revoke] does.
type Revocation struct {
	// ID is the key's.
	ID string
	// Undo takes a revocation back: the key is what it would be without.
	Undo bool
}

// CheckRevoke returns why [Publisher.Revoke] would refuse, or nil.
func (p *Publisher) CheckRevoke(ctx context.Context, r Revocation) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	remembered, _, err := p.recallForRevoke(ctx)
	if err == nil {
		_, err = withRevoked(remembered, r, p.watch.now())
	}
	return err
}

// Revoke takes a key out of the published documents at once, and keeps it out
// while any source shows it; or takes that back. The sources are not asked. For
// a key that is revoked already the documents are written once more; the last
// key cannot be revoked. The error says why nothing was decided; what went wrong
// at the stores is in the report.
func (p *Publisher) Revoke(ctx context.Context, r Revocation) (Round, error) {
	round := Round{Issuer: p.config.Issuer.String(), Time: p.watch.now().Latest, Stores: make([]StoreResult, len(p.keepers))}
	defer p.note()
	for _, k := range p.keepers {
		k.look(ctx, nil)
	}
	waiting, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	p.await(waiting.Done(), &round)
	remembered, err := p.revoke(ctx, r)
	if err != nil {
		return round, err
	}
	round.StateWritten = true
	round.keys(p.statuses(remembered))
	d := decided{moved: true}
	if d.projection, err = p.project(remembered); err != nil {
		return round, err
	}
	if err := p.serve(remembered.Published()); err != nil {
		return round, err
	}
	p.publish(ctx, d, pace{patience: storeTimeout}, &round)
	p.storeFaults(&round)
	return round, nil
}

func (p *Publisher) recallForRevoke(ctx context.Context) (state.State, oidc.Version, error) {
	remembered, version, err := p.readState(ctx)
	if errors.Is(err, oidc.ErrNotFound) || errors.Is(err, state.ErrDamaged) || errors.Is(err, state.ErrMoved) {
		err = fmt.Errorf("%w; publish first, which takes over what is published", err)
	}
	return remembered, version, err
}

// revoke moves the state.
func (p *Publisher) revoke(ctx context.Context, r Revocation) (state.State, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	for range conflictTries {
		remembered, version, err := p.recallForRevoke(ctx)
		if err != nil {
			return state.State{}, err
		}
		revoked, err := withRevoked(remembered, r, p.watch.now())
		if err != nil {
			return state.State{}, err
		}
		if err = state.Write(ctx, p.state, revoked, version); err == nil {
			return revoked, nil
		}
		if !errors.Is(err, oidc.ErrConflict) {
			return state.State{}, err
		}
	}
	return state.State{}, fmt.Errorf("writing the state: %w", oidc.ErrConflict)
}

func withRevoked(remembered state.State, r Revocation, now keys.Moment) (state.State, error) {
	records, known := make([]keys.Record, 0, len(remembered.Records)), []string{}
	found := false
	for _, record := range remembered.Records {
		known = append(known, record.Key.ID)
		if record.Key.ID == r.ID {
			found = true
			switch {
			case r.Undo && record.Revoked.IsZero():
				return state.State{}, fmt.Errorf("key %q is not revoked", r.ID)
			case r.Undo:
				record.Revoked = time.Time{}
			case record.Revoked.IsZero():
				record.Revoked = now.Latest
			}
		}
		records = append(records, record)
	}
	if !found {
		return state.State{}, fmt.Errorf("key %q is not known; want one of %s", r.ID, strings.Join(known, ", "))
	}
	if keys.Published(records).Len() == 0 {
		return state.State{}, fmt.Errorf("key %q is the last one, and an empty key set is never published; add a new key to the API servers first, and let them sign with it", r.ID)
	}
	return remembered.With(records, nil, nil).Since(remembered, now.Latest), nil
}
