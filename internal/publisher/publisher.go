// Package publisher keeps one issuer's documents right: round by round it
// gathers keys from the sources, decides what to publish, publishes it to the
// stores and looks at the result from outside.
//
// It makes no documents of its own (package oidc does) and knows no kind of
// source or store.
package publisher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// Source is where keys are read.
type Source interface {
	// Observe looks once at every origin that the source has. It ends within
	// a bounded time, and is not called again before it did.
	Observe(ctx context.Context) []keys.Observation
}

// Watcher is a Source that can tell when another look is worth while.
type Watcher interface {
	// Watch calls changed after every change until ctx ends, and then returns nil.
	Watch(ctx context.Context, changed func()) error
}

// Signer is a Source that knows which issuer its tokens name. Issuer is called
// while Observe runs.
type Signer interface {
	Issuer(ctx context.Context) (string, error)
}

// Store is an oidc.Store with a name for people.
type Store struct {
	Name string
	oidc.Store
}

// Config is all that a Publisher works with.
type Config struct {
	Issuer  oidc.Issuer
	Sources []Source
	// Stores are written in parallel and independently. The first is the one
	// whose content is served.
	Stores []Store
	// MaxAge is the cache lifetime that the documents declare.
	MaxAge time.Duration
	// MaxKeys is how many keys may be published at most.
	MaxKeys int
	// Interval is the time between rounds in Run.
	Interval time.Duration
	// Outside looks at the published documents as a relying party; nil: nobody looks.
	Outside func(context.Context) oidc.Report
	// Serve is told what the first store holds, whenever that changes; may be nil.
	Serve func(oidc.Documents)
	// Report is told how each round of Run went; may be nil.
	Report  func(Round)
	Metrics *Metrics
	Log     *slog.Logger
}

// Publisher keeps one issuer. Its methods are not safe for concurrent use.
type Publisher struct {
	config   Config
	lastGood map[string]keys.Set // by origin
	served   *oidc.Documents
	problems problems
}

// New returns a publisher that has done nothing yet.
func New(config Config) *Publisher {
	config.Log = config.Log.With("issuer", config.Issuer.String())
	return &Publisher{
		config:   config,
		lastGood: make(map[string]keys.Set),
		problems: problems{log: config.Log},
	}
}

// Limits on the parts of a round, so that one that hangs delays the others by
// no more.
const (
	gatherTimeout  = 25 * time.Second
	storeTimeout   = 30 * time.Second
	outsideTimeout = 30 * time.Second
)

// Load serves what the first store holds from an earlier run, before any
// source is asked. Nothing published yet is no error.
func (p *Publisher) Load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	set, _, err := oidc.Published(ctx, p.config.Stores[0])
	if err != nil {
		return fmt.Errorf("loading what store %q holds: %w", p.config.Stores[0].Name, err)
	}
	return p.serve(set)
}

// Round does one round and reports it. What goes wrong in one part is in the
// report and keeps no other part from its work, except that no key set at all
// leaves nothing to publish.
func (p *Publisher) Round(ctx context.Context) Round {
	return p.round(ctx, p.publish)
}

// Plan reports what Round would write, and writes nothing. The outside is not
// looked at.
func (p *Publisher) Plan(ctx context.Context) Round {
	config := p.config
	defer func() { p.config = config }()
	p.config.Outside, p.config.Serve = nil, nil
	return p.round(ctx, p.plan)
}

func (p *Publisher) round(ctx context.Context, put putter) Round {
	start := time.Now()
	round := Round{Issuer: p.config.Issuer.String()}
	observed, err := p.gather(ctx, &round)
	if err != nil {
		round.fault("keys", err)
	} else {
		p.toStores(ctx, &round, observed, put)
	}
	if p.config.Outside != nil && round.Published() {
		ctx, cancel := context.WithTimeout(ctx, outsideTimeout)
		defer cancel()
		report := p.config.Outside(ctx)
		round.Outside = &report
	}
	p.problems.update(round)
	p.config.Metrics.record(round, time.Since(start))
	return round
}

// toStores gives every store the observed keys, each together with what it
// already holds: publishing never takes a key away.
func (p *Publisher) toStores(ctx context.Context, round *Round, observed keys.Set, put putter) {
	round.Stores = make([]StoreResult, len(p.config.Stores))
	var working sync.WaitGroup
	for i, store := range p.config.Stores {
		working.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, storeTimeout)
			defer cancel()
			round.Stores[i] = put(ctx, store, observed)
		})
	}
	working.Wait()
	if first := round.Stores[0]; first.holds.Len() > 0 {
		round.Keys = first.holds.IDs()
		if err := p.serve(first.holds); err != nil {
			round.fault("serving", err)
		}
	}
}

// putter brings the observed keys into one store, or pretends to.
type putter func(ctx context.Context, store Store, observed keys.Set) StoreResult

// conflictTries is how often a writer that lost a race tries again at once. In
// each race somebody wins, so with a handful of writers this ends; if not, the
// next round goes on.
const conflictTries = 5

func (p *Publisher) publish(ctx context.Context, store Store, observed keys.Set) StoreResult {
	result := StoreResult{Store: store.Name}
	for range conflictTries {
		documents, base, err := p.decide(ctx, store, observed, &result)
		if err == nil {
			var written []string
			written, err = oidc.Publish(ctx, store, documents, base)
			result.Written = append(result.Written, written...)
		}
		if result.fault(err); err == nil {
			result.holds = documents.Keys
		}
		if !errors.Is(err, oidc.ErrConflict) {
			break
		}
	}
	return result
}

func (p *Publisher) plan(ctx context.Context, store Store, observed keys.Set) StoreResult {
	result := StoreResult{Store: store.Name}
	documents, _, err := p.decide(ctx, store, observed, &result)
	if err == nil {
		result.WouldWrite, err = oidc.Differences(ctx, store, documents)
	}
	result.fault(err)
	return result
}

// decide returns the documents that the store should hold, and the version
// that the decision rests on.
func (p *Publisher) decide(ctx context.Context, store Store, observed keys.Set, result *StoreResult) (oidc.Documents, oidc.Version, error) {
	published, base, err := oidc.Published(ctx, store)
	if damage, ok := errors.AsType[*keys.Error](err); ok {
		// A foreign edit. Readers fail on it now, so it is replaced by what is known to be right.
		result.Repaired = damage.Error()
		published = p.servedKeys()
	} else if err != nil {
		return oidc.Documents{}, "", err
	}
	result.holds = published
	set, err := keys.Union(published, observed)
	if err != nil {
		return oidc.Documents{}, "", fmt.Errorf("joining observed and published keys: %w", err)
	}
	if p.config.MaxKeys > 0 && set.Len() > p.config.MaxKeys {
		return oidc.Documents{}, "", fmt.Errorf("%d keys to publish, but keys.max is %d: %w", set.Len(), p.config.MaxKeys, keys.RuleTooManyKeys)
	}
	result.Added = set.Without(published).IDs()
	documents, err := oidc.Render(p.config.Issuer, set)
	return documents.WithMaxAge(p.config.MaxAge), base, err
}

func (p *Publisher) servedKeys() keys.Set {
	if p.served == nil {
		return keys.Set{}
	}
	return p.served.Keys
}

// serve hands documents with these keys to the server, unless it has them.
func (p *Publisher) serve(set keys.Set) error {
	if set.Len() == 0 || p.config.Serve == nil || p.served != nil && p.served.Keys.Equal(set) {
		return nil
	}
	documents, err := oidc.Render(p.config.Issuer, set)
	if err != nil {
		return err
	}
	documents = documents.WithMaxAge(p.config.MaxAge)
	p.config.Serve(documents)
	p.served = &documents
	p.config.Log.Info("serving keys", "keys", set.Len(), "key_ids", set.IDs())
	return nil
}
