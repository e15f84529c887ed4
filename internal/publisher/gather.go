package publisher

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// gather asks all sources in parallel. An origin that fails counts with what
// it last showed, so that an error never takes a key away.
func (p *Publisher) gather(ctx context.Context, round *Round) (keys.Set, error) {
	ctx, cancel := context.WithTimeout(ctx, gatherTimeout)
	defer cancel()
	observations := make([][]keys.Observation, len(p.config.Sources))
	signers := make([]string, len(p.config.Sources))
	var asking sync.WaitGroup
	for i, source := range p.config.Sources {
		asking.Go(func() { observations[i] = source.Observe(ctx) })
		if signer, ok := source.(Signer); ok {
			asking.Go(func() { signers[i] = p.drift(ctx, signer) })
		}
	}
	asking.Wait()

	var sets []keys.Set
	for _, list := range observations {
		for _, observation := range list {
			if observation.Err == nil {
				p.lastGood[observation.Origin] = observation.Keys
			}
			sets = append(sets, p.lastGood[observation.Origin])
			round.Sources = append(round.Sources, newSourceResult(observation))
		}
	}
	for _, warning := range signers {
		if warning != "" {
			round.Warnings = append(round.Warnings, warning)
		}
	}
	set, err := keys.Union(sets...)
	if err != nil {
		return keys.Set{}, fmt.Errorf("joining the keys of all sources: %w", err)
	}
	if set.Len() == 0 {
		return keys.Set{}, errors.New("no source shows a key, and none did before; nothing is changed")
	}
	return set, nil
}

// drift compares the issuer that tokens really name with the configured one.
// It is a warning only: publishing ahead of the switch must work.
func (p *Publisher) drift(ctx context.Context, signer Signer) string {
	actual, err := signer.Issuer(ctx)
	if err != nil || actual == p.config.Issuer.String() {
		return "" // an error here comes with one in Observe, which says more
	}
	return fmt.Sprintf("the cluster signs tokens as issuer %q, not %q: relying parties will refuse them until kube-apiserver runs with --service-account-issuer=%s as its first issuer", actual, p.config.Issuer, p.config.Issuer)
}
