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
	running, ctx := errgroup.WithContext(ctx)
	for _, q := range p.inquiries {
		if watcher, ok := q.source.(Watcher); ok {
			running.Go(func() error {
				return watcher.Watch(ctx, func() {
					q.changed.Store(true)
					p.Notify()
				})
			})
		}
	}
	done := make(chan struct{}, 1)
	running.Go(func() error {
		defer close(done)
		p.rounds(ctx, done)
		return nil
	})
	running.Go(func() error {
		p.looks(ctx, done)
		return nil
	})
	return running.Wait()
}

// rounds does rounds until ctx ends, and says when each is done.
func (p *Publisher) rounds(ctx context.Context, done chan<- struct{}) {
	var asked time.Time // when a round last began that asked every source
	var late bool
	for ctx.Err() == nil {
		start := time.Now()
		collects := late && time.Since(asked) < p.config.Interval
		if !collects {
			asked = start
		}
		round := p.round(ctx, pace{patience: patience, late: func() { signal(p.late) }, collects: collects})
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
		late = p.idle(ctx, p.pause(round))
		select { // whatever keeps on asking for rounds
		case <-ctx.Done():
		case <-time.After(shortestPause - time.Since(start)):
		}
	}
	for _, q := range p.inquiries {
		q.call.settle()
	}
	for _, k := range p.keepers {
		k.call.settle()
	}
}

// idle waits until a round is due, at the latest after the pause. It reports
// whether that is because something answered late.
func (p *Publisher) idle(ctx context.Context, pause time.Duration) (late bool) {
	select {
	case <-ctx.Done():
	case <-p.changed:
		p.config.Log.Debug("something changed")
	case <-p.late:
		return true
	case <-time.After(pause):
	}
	return false
}

// pause is the time until the next round is due: the interval, or less if
// something that failed is to be tried again, or a key's phase changes.
func (p *Publisher) pause(round Round) time.Duration {
	pause := jitter(p.config.Interval)
	again := func(b backoff, running bool) {
		if !b.until.IsZero() && !running { // else its answer begins the next round
			pause = min(pause, time.Until(b.until))
		}
	}
	for _, q := range p.inquiries {
		again(q.backoff, q.call.running)
	}
	for _, k := range p.keepers {
		again(k.backoff, k.call.running)
	}
	if p.config.State != nil { // else it is that of the first keeper
		again(*p.stateBackoff, false)
	}
	if next := round.NextChange; !next.IsZero() {
		// By the clock that decides, which may be behind the wall clock. One that
		// is due already needs a new answer of the sources, which may take a while.
		pause = min(pause, max(next.Sub(p.watch.now().Earliest), firstRetry))
	}
	return max(pause, shortestPause)
}

// shortestPause keeps rounds that have something to do at once from being all
// that the process does.
const shortestPause = 100 * time.Millisecond

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
