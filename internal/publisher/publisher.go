// Package publisher keeps one issuer's documents right: round by round it
// gathers keys from the sources, decides what to publish, publishes it to the
// stores and looks at the result from outside.
//
// It makes no documents of its own (package oidc does) and knows no kind of
// source or store.
package publisher

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
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
	config    Config
	inquiries []*inquiry
	keepers   []*keeper
	lastGood  map[string]good // by origin
	served    keys.Set
	current   atomic.Pointer[snapshot]    // after the last round
	outside   atomic.Pointer[oidc.Report] // the last look of Run
	problems  problems
}

// good is what an origin showed when it last answered.
type good struct {
	keys keys.Set
	when time.Time
}

// New returns a publisher that has done nothing yet.
func New(config Config) *Publisher {
	config.Log = config.Log.With("issuer", config.Issuer.String())
	p := &Publisher{config: config, lastGood: make(map[string]good), problems: problems{log: config.Log}}
	for i, source := range config.Sources {
		p.inquiries = append(p.inquiries, newInquiry(fmt.Sprintf("sources[%d]", i), source))
	}
	for _, store := range config.Stores {
		p.keepers = append(p.keepers, &keeper{Store: store, config: config})
	}
	return p
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
	first := p.keepers[0]
	if err := first.load(ctx); err != nil {
		return fmt.Errorf("loading what store %q holds: %w", first.Name, err)
	}
	return p.serve(first.known)
}

// Round does one round, the look from outside included, and reports it. What
// goes wrong in one part is in the report, not in the log, and keeps no other
// part from its work.
func (p *Publisher) Round(ctx context.Context) Round {
	start := time.Now()
	round := p.round(ctx, gatherTimeout, nil, (*keeper).publish)
	if p.config.Outside != nil {
		report := p.look(ctx)
		round.Outside = &report
	}
	p.config.Metrics.record(round, time.Since(start))
	return round
}

// Plan reports what Round would write, and writes nothing. The outside is not
// looked at.
func (p *Publisher) Plan(ctx context.Context) Round {
	return p.round(ctx, gatherTimeout, nil, (*keeper).plan)
}

// putter brings the observed keys into one store, or pretends to.
type putter func(k *keeper, ctx context.Context, observed keys.Set) StoreResult

// round gathers and publishes. It waits for slow sources no longer than the
// patience; late is called when one answers after that.
func (p *Publisher) round(ctx context.Context, patience time.Duration, late func(), put putter) Round {
	round := Round{Issuer: p.config.Issuer.String(), Time: time.Now().UTC()}
	observed, err := p.gather(ctx, patience, late, &round)
	if err != nil {
		round.fault("keys", err)
	}
	// Also without any observed key: what a store holds may need repair, and
	// another replica may have published what is to be served here.
	round.Stores = make([]StoreResult, len(p.keepers))
	var working sync.WaitGroup
	for i, k := range p.keepers {
		working.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, storeTimeout)
			defer cancel()
			round.Stores[i] = put(k, ctx, observed)
		})
	}
	working.Wait()
	if err := p.serve(p.keepers[0].known); err != nil {
		round.fault("serving", err)
	}
	round.Keys = p.keepers[0].known.IDs()
	p.remember()
	return round
}

// serve hands documents with these keys to the server, unless it has them.
func (p *Publisher) serve(set keys.Set) error {
	if set.Len() == 0 || p.config.Serve == nil || p.served.Equal(set) {
		return nil
	}
	documents, err := oidc.Render(p.config.Issuer, set)
	if err != nil {
		return err
	}
	p.config.Serve(documents.WithMaxAge(p.config.MaxAge))
	p.served = set
	p.config.Log.Info("loaded documents", "keys", set.Len(), "key_ids", set.IDs())
	return nil
}
