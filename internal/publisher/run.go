package publisher

import (
	"context"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
)

// patience is how long a round of Run waits for slow sources. What they bring
// later begins a round of its own, so that a key file is published within
// seconds whatever else hangs.
const patience = 2 * time.Second

// Run loads what is published, then does a round at once, after every change
// that a source reports, and every interval, until ctx ends. It returns nil
// then; a watcher's error ends it otherwise. Problems of rounds are logged and
// counted, never returned.
func (p *Publisher) Run(ctx context.Context) error {
	if err := p.Load(ctx); err != nil {
		p.config.Log.Warn("began without the published documents", "err", err)
	}
	changed := make(chan struct{}, 1)
	notify := func() {
		select {
		case changed <- struct{}{}:
		default: // a round is due already
		}
	}
	running, ctx := errgroup.WithContext(ctx)
	for _, source := range p.config.Sources {
		if watcher, ok := source.(Watcher); ok {
			running.Go(func() error { return watcher.Watch(ctx, notify) })
		}
	}
	done := make(chan struct{}, 1)
	running.Go(func() error {
		defer close(done)
		p.rounds(ctx, changed, notify, done)
		return nil
	})
	running.Go(func() error {
		p.looks(ctx, done)
		return nil
	})
	return running.Wait()
}

// rounds does rounds until ctx ends, and says when each is done.
func (p *Publisher) rounds(ctx context.Context, changed <-chan struct{}, notify func(), done chan<- struct{}) {
	for ctx.Err() == nil {
		start := time.Now()
		round := p.round(ctx, patience, notify, (*keeper).publish)
		if ctx.Err() != nil {
			break // what a round that was cut short says is not so
		}
		round.Outside = p.outside.Load()
		p.problems.update(round)
		p.config.Metrics.record(round, time.Since(start))
		if p.config.Report != nil {
			p.config.Report(round)
		}
		select {
		case done <- struct{}{}:
		default: // the look under way is not over; another is due already
		}
		select {
		case <-ctx.Done():
		case <-changed:
			p.config.Log.Debug("a source changed")
		case <-time.After(jitter(p.config.Interval)):
		}
	}
	for _, q := range p.inquiries {
		q.settle()
	}
}

// looks sees from outside what was published. A slow outside holds up no round.
func (p *Publisher) looks(ctx context.Context, done <-chan struct{}) {
	for range done {
		if p.config.Outside == nil {
			continue
		}
		report := p.look(ctx)
		if ctx.Err() != nil {
			continue
		}
		p.outside.Store(&report)
		p.problems.updateOutside(report)
		p.config.Metrics.recordOutside(report)
	}
}

// jitter spreads an interval by up to a tenth, so that many publishers do not
// ask one server in step.
func jitter(interval time.Duration) time.Duration {
	return interval - time.Duration(rand.Int64N(int64(interval)/10+1))
}
