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

// Revoke takes the key with the given ID out of the published documents at
// once, and keeps it out while any source shows it. A key that is revoked
// already is published nowhere once more. The sources are not asked. The error
// says why nothing was decided; what went wrong at the stores is in the report.
func (p *Publisher) Revoke(ctx context.Context, id string) (Round, error) {
	round := Round{Issuer: p.config.Issuer.String(), Time: p.watch.now().Latest, Stores: make([]StoreResult, len(p.keepers))}
	defer p.note()
	for _, k := range p.keepers {
		k.look(ctx, nil)
	}
	waiting, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	p.await(waiting.Done(), &round)
	remembered, err := p.revoke(ctx, id)
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
	for i, k := range p.keepers {
		round.Stores[i].fault(k.fault())
	}
	return round, nil
}

// revoke moves the state.
func (p *Publisher) revoke(ctx context.Context, id string) (state.State, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	for range conflictTries {
		remembered, version, err := state.Read(ctx, p.state)
		switch {
		case errors.Is(err, oidc.ErrNotFound), errors.Is(err, state.ErrDamaged):
			return state.State{}, fmt.Errorf("%w; publish first, which takes over what is published", err)
		case err != nil:
			return state.State{}, err
		case remembered.Issuer != p.config.Issuer.String():
			return state.State{}, errForeignState(remembered.Issuer, p.config.Issuer.String())
		}
		revoked, err := withRevoked(remembered, id, p.watch.now())
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

func withRevoked(remembered state.State, id string, now keys.Moment) (state.State, error) {
	records, known := make([]keys.Record, 0, len(remembered.Records)), []string{}
	found := false
	for _, record := range remembered.Records {
		known = append(known, record.Key.ID)
		if record.Key.ID == id {
			found = true
			if record.Revoked.IsZero() {
				record.Revoked = now.Latest
			}
		}
		records = append(records, record)
	}
	if !found {
		return state.State{}, fmt.Errorf("key %q is not known; want one of %s", id, strings.Join(known, ", "))
	}
	if keys.Published(records).Len() == 0 {
		return state.State{}, fmt.Errorf("key %q is the last one: without it nothing could be published and every token would be refused at an unknown time; add a new key to the API servers first, and let them sign with it", id)
	}
	return remembered.With(records, nil, nil), nil
}
