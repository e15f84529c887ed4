// Package publisher keeps one issuer's documents right: round by round it
// gathers keys from the sources, decides what to publish, remembers that as
// the state, makes the stores hold its projection, and looks at the result from
// outside.
//
// It decides no key's fate (package keys does), makes no documents of its own
// (package oidc does) and knows no kind of source or store.
package publisher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/state"
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

// SigningObserver is a Source that can learn what its origins sign with.
type SigningObserver interface {
	// SigningKeys returns the ID of the key that each origin of Observe signs
	// with now, for as many as it can. It is called while Observe runs.
	SigningKeys(ctx context.Context) map[string]string
}

// Store is an oidc.Store with a name for people.
type Store struct {
	Name string
	oidc.Store
}

// Config is all that a Publisher works with.
type Config struct {
	Issuer oidc.Issuer
	// Issuers are all issuers that are configured beside this one: a cluster may sign with any.
	Issuers []oidc.Issuer
	Sources []Source
	// Stores are written in parallel and independently, at least one.
	Stores []Store
	// State is where the state is kept; nil: in the first of Stores.
	State oidc.Store
	// MaxAge is the cache lifetime that the documents declare.
	MaxAge time.Duration
	Policy keys.Policy
	// Interval is the time between rounds in Run.
	Interval time.Duration
	// Cautions are alarms that hold as long as the configuration does.
	Cautions []keys.Alarm
	// Leads reports whether this process may write; nil: it always may. One
	// that may not serves what the state says.
	Leads func() bool
	// Outside looks at the published documents as a relying party; nil: nobody looks.
	Outside func(context.Context) oidc.Report
	// Serve is told what the state says is published, whenever that changes; may be nil.
	Serve func(oidc.Documents)
	// Report is told how each round of Run went; may be nil.
	Report func(Round)
	// Event is told what happens to the keys, and what is wrong; may be nil. It
	// must not block.
	Event   func(reason, note string, warning bool)
	Metrics *Metrics
	Log     *slog.Logger
	// Clock is the clocks; nil: the machine's.
	Clock Clock
}

func (c Config) configured(issuer string) bool {
	return issuer == c.Issuer.String() ||
		slices.ContainsFunc(c.Issuers, func(other oidc.Issuer) bool { return issuer == other.String() })
}

// Publisher keeps one issuer. Its methods are not safe for concurrent use,
// except Notify.
type Publisher struct {
	config       Config
	watch        watch
	inquiries    []*inquiry
	keepers      []*keeper
	state        oidc.Store
	stateBackoff *backoff                    // of the store that has the state
	served       keys.Set                    // what the state last said
	current      atomic.Pointer[snapshot]    // after the last round
	outside      atomic.Pointer[oidc.Report] // the last look of Run
	problems     problems
	changed      chan struct{} // says that a round is due
	late         chan struct{} // says that one is due for what came late
	stateChanged time.Time     // when the published keys last changed, as the state has it
}

// New returns a publisher that has done nothing yet.
func New(config Config) *Publisher {
	config.Log = config.Log.With("issuer", config.Issuer.String())
	if config.Clock == nil {
		config.Clock = systemClock()
	}
	p := &Publisher{
		config: config, watch: newWatch(config.Clock), state: config.State,
		problems: problems{log: config.Log, issuer: config.Issuer.String(), event: config.Event, leads: config.Leads},
		changed:  make(chan struct{}, 1), late: make(chan struct{}, 1),
	}
	p.current.Store(new(snapshot))
	for i, source := range config.Sources {
		p.inquiries = append(p.inquiries, newInquiry(fmt.Sprintf("sources[%d]", i), source, config.Interval))
	}
	for _, store := range config.Stores {
		p.keepers = append(p.keepers, newKeeper(store, config.Issuer, config.Interval))
	}
	p.stateBackoff = new(backoff)
	if p.state == nil {
		p.state, p.stateBackoff = config.Stores[0].Store, &p.keepers[0].backoff
		p.keepers[0].keepsState = true
	}
	return p
}

// Notify asks Run for a round: something may have changed.
func (p *Publisher) Notify() { signal(p.changed) }

func signal(due chan<- struct{}) {
	select {
	case due <- struct{}{}:
	default: // a round is due already
	}
}

// Limits on the parts of a round, so that one that hangs delays the others by
// no more.
const (
	gatherTimeout  = 25 * time.Second
	storeTimeout   = 30 * time.Second
	outsideTimeout = 30 * time.Second
)

// Load serves what an earlier run published, before any source is asked. It
// writes nothing. Nothing published yet is no error.
func (p *Publisher) Load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	set, err := p.published(ctx)
	if serveErr := p.serve(set); serveErr != nil || err != nil {
		return fmt.Errorf("loading what is published: %w", errors.Join(err, serveErr))
	}
	return nil
}

// published returns the keys that the state has, or if it tells nothing, those
// of the first store that has any.
func (p *Publisher) published(ctx context.Context) (keys.Set, error) {
	remembered, _, stateErr := p.readState(ctx)
	if stateErr == nil {
		return remembered.Published(), nil
	}
	if errors.Is(stateErr, oidc.ErrNotFound) || errors.Is(stateErr, state.ErrMoved) {
		stateErr = nil
	}
	for _, k := range p.keepers {
		holding, err := k.hold(ctx)
		if err == nil && holding.Keys.Len() > 0 {
			return holding.Keys, stateErr
		}
		if err != nil {
			stateErr = errors.Join(stateErr, fmt.Errorf("store %q: %w", k.Name, err))
		}
	}
	return keys.Set{}, stateErr
}

// Round does one round, the look from outside included, and reports it. What
// goes wrong in one part is in the report, not in the log, and keeps no other
// part from its work.
func (p *Publisher) Round(ctx context.Context) Round {
	start := time.Now()
	round := p.round(ctx, pace{patience: storeTimeout})
	if p.config.Outside != nil {
		report := p.look(ctx)
		round.Outside = &report
	}
	p.config.Metrics.record(round, time.Since(start))
	return round
}

// Plan reports what Round would write, and writes nothing. It waits for slow
// sources and stores no longer than the patience. The outside is not looked at.
func (p *Publisher) Plan(ctx context.Context, patience time.Duration) Round {
	return p.round(ctx, pace{patience: patience, plan: true})
}

// pace says how a round is done.
type pace struct {
	// patience is how long slow sources and stores are waited for.
	patience time.Duration
	// late is called when one of them answers after that; may be nil.
	late func()
	// collects: the round begins because something answered late.
	collects bool
	// plan: nothing is written.
	plan bool
}

// maxPasses bounds how often a round begins anew because something was written:
// the state, the documents, the state again (they are published now), and the
// documents for that.
const maxPasses = 6

// round does a round without the look from outside.
func (p *Publisher) round(ctx context.Context, pace pace) Round {
	round := Round{Issuer: p.config.Issuer.String(), Time: p.watch.now().Latest}
	defer p.note()
	round.alarms(p.config.Cautions)
	if p.config.Leads != nil && !p.config.Leads() {
		p.follow(ctx, &round)
	} else {
		p.lead(ctx, pace, &round)
	}
	return round
}

// lead gathers, decides and publishes.
func (p *Publisher) lead(ctx context.Context, pace pace, round *Round) {
	for _, q := range p.inquiries {
		q.begin(ctx, p.watch.now(), pace)
	}
	for _, k := range p.keepers {
		k.look(ctx, pace.late)
	}
	round.Stores = make([]StoreResult, len(p.keepers))
	waiting, cancel := context.WithTimeout(ctx, pace.patience)
	defer cancel()
	g := p.gather(waiting.Done(), round)
	p.await(waiting.Done(), round)
	for range maxPasses {
		outcome, err := p.decide(ctx, g, round, pace.plan)
		if err != nil {
			round.fault("state", err)
			break
		}
		if pace.plan {
			p.wouldWrite(outcome, round)
			break
		}
		if err := p.serve(outcome.projection.documents.Keys); err != nil {
			round.fault("serving", err)
		}
		if !p.publish(ctx, outcome, pace, round) {
			break
		}
	}
	p.storeFaults(round)
}

// serve hands documents with these keys to the server, unless it has them.
func (p *Publisher) serve(set keys.Set) error {
	if set.Len() == 0 || p.served.Equal(set) {
		return nil
	}
	documents, err := oidc.Render(p.config.Issuer, set)
	if err != nil {
		return err
	}
	p.served = set
	if p.config.Serve != nil {
		p.config.Serve(documents.WithMaxAge(p.config.MaxAge))
		p.config.Log.Info("loaded documents", "keys", set.Len(), "key_ids", set.IDs())
	}
	return nil
}
