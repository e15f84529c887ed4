package publisher

import (
	"context"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
)

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
	running.Go(func() error {
		p.loop(ctx, changed)
		return nil
	})
	return running.Wait()
}

func (p *Publisher) loop(ctx context.Context, changed <-chan struct{}) {
	for ctx.Err() == nil {
		round := p.Round(ctx)
		if p.config.Report != nil {
			p.config.Report(round)
		}
		select {
		case <-ctx.Done():
		case <-changed:
			p.config.Log.Debug("a source changed")
		case <-time.After(jitter(p.config.Interval)):
		}
	}
}

// jitter spreads an interval by up to a tenth, so that many publishers do not
// ask one server in step.
func jitter(interval time.Duration) time.Duration {
	return interval - time.Duration(rand.Int64N(int64(interval)/10+1))
}
