package publisher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// keeper keeps one store right. It remembers what the store held, so that an
// edit by somebody else is noticed and no key is lost through it.
type keeper struct {
	Store
	config Config
	// loaded says that the store was read; only then is what follows known.
	loaded bool
	// known are the keys that the store last held.
	known keys.Set
	// explained are the keys that were there at the first look, or that a
	// source showed; unexplained the others that the last look found.
	explained, unexplained keys.Set
	written                time.Time // when something was last written
	pause                  time.Time // until when the store asked to be left alone
}

// conflictTries is how often a writer that lost a race tries again at once. In
// each race somebody wins, so with a handful of writers this ends; if not, the
// next round goes on.
const conflictTries = 5

// load takes what the store holds for known, without writing.
func (k *keeper) load(ctx context.Context) error {
	holding, err := oidc.Hold(ctx, k.Store)
	if err == nil {
		err = k.checkOwner(holding)
	}
	if err == nil && holding.Keys.Len() > 0 {
		k.loaded, k.known, k.explained = true, holding.Keys, holding.Keys
	}
	return err
}

// publish gives the store the observed keys, together with those that it
// already holds: publishing never takes a key away.
func (k *keeper) publish(ctx context.Context, observed keys.Set) StoreResult {
	result := StoreResult{Store: k.Name}
	if time.Now().Before(k.pause) {
		result.fault(fmt.Errorf("left alone until %s, as it asked (Retry-After)", k.pause.UTC().Format(time.TimeOnly)))
		return result
	}
	for range conflictTries {
		documents, base, err := k.decide(ctx, observed, &result)
		if err == nil && documents.Keys.Len() > 0 {
			var written []string
			written, err = oidc.Publish(ctx, k.Store, documents, base)
			result.Written = append(result.Written, written...)
		}
		if result.fault(err); err == nil {
			k.loaded, k.known = true, documents.Keys
		}
		if !errors.Is(err, oidc.ErrConflict) {
			k.heed(err)
			break
		}
	}
	if len(result.Written) > 0 {
		k.written = time.Now()
	}
	return result
}

// maxPause bounds how long a store is left alone, whatever it asked for.
const maxPause = 5 * time.Minute

func (k *keeper) heed(err error) {
	if wanted, ok := errors.AsType[*oidc.RetryAfterError](err); ok {
		k.pause = time.Now().Add(min(wanted.After, maxPause))
	}
}

func (k *keeper) plan(ctx context.Context, observed keys.Set) StoreResult {
	result := StoreResult{Store: k.Name}
	documents, base, err := k.decide(ctx, observed, &result)
	if err == nil && documents.Keys.Len() > 0 {
		result.WouldWrite = base.Missing(documents)
	}
	result.fault(err)
	return result
}

// decide returns the documents that the store should hold, and what it holds
// now. Without any key, neither held nor observed, the documents are empty.
func (k *keeper) decide(ctx context.Context, observed keys.Set, result *StoreResult) (oidc.Documents, oidc.Holding, error) {
	holding, err := oidc.Hold(ctx, k.Store)
	if err == nil {
		err = k.checkOwner(holding)
	}
	if err != nil {
		return oidc.Documents{}, oidc.Holding{}, err
	}
	k.compare(holding, observed, result)
	// What is known goes before what is held: an edit must not replace a key.
	set, err := keys.Union(k.known, holding.Keys.Without(k.known), observed)
	if err != nil {
		return oidc.Documents{}, oidc.Holding{}, fmt.Errorf("joining observed and published keys: %w", err)
	}
	if set.Len() > k.config.MaxKeys {
		return oidc.Documents{}, oidc.Holding{}, fmt.Errorf("%d keys to publish, but keys.max is %d: %w", set.Len(), k.config.MaxKeys, keys.RuleTooManyKeys)
	}
	if set.Len() == 0 {
		return oidc.Documents{}, holding, nil
	}
	result.Added = set.Without(holding.Keys).IDs()
	documents, err := oidc.Render(k.config.Issuer, set)
	return documents.WithMaxAge(k.config.MaxAge), holding, err
}

// checkOwner refuses a store that holds another issuer's documents: a slip in
// a URL would break that issuer, and make its keys trusted for this one.
func (k *keeper) checkOwner(holding oidc.Holding) error {
	if holding.Issuer != "" && holding.Issuer != k.config.Issuer.String() {
		return fmt.Errorf("it holds the documents of issuer %q; give %q a store of its own, or delete them first", holding.Issuer, k.config.Issuer)
	}
	return nil
}

// compare notes what somebody else did to the store.
func (k *keeper) compare(holding oidc.Holding, observed keys.Set, result *StoreResult) {
	var repaired []string
	for _, fault := range holding.Damage {
		repaired = append(repaired, fault.Error())
	}
	if lost := k.known.Without(holding.Keys); lost.Len() > 0 {
		repaired = append(repaired, "missing keys "+strings.Join(lost.IDs(), ", "))
	} else if both := k.known.Len(); both > 0 && !k.known.Equal(holding.Keys.Without(holding.Keys.Without(k.known))) {
		repaired = append(repaired, "a key was altered")
	}
	result.Repaired = strings.Join(repaired, "; ")
	// Without a memory nobody can tell which keys a damaged set had.
	result.Forgotten = len(holding.Damage) > 0 && !k.loaded && holding.Keys.Len() == 0

	if !k.loaded {
		k.explained = holding.Keys
	}
	k.explained = join(k.explained, observed)
	unexplained := holding.Keys.Without(k.explained)
	// Another replica may have seen a new key a moment earlier; what is there
	// twice and no source shows is somebody else's.
	result.Foreign = unexplained.Without(unexplained.Without(k.unexplained)).IDs()
	k.unexplained = unexplained
}

// join is keys.Union in which the first of two clashing keys stays.
func join(a, b keys.Set) keys.Set {
	joined, err := keys.Union(a, b.Without(a))
	if err != nil {
		return a
	}
	return joined
}
