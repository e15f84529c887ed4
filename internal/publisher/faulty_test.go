package publisher_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/internal/store/memory"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// faulty is a store whose calls a test has fail or hang. It notes when those
// that the fault struck began.
type faulty struct {
	oidc.Store
	mu     sync.Mutex // guards what follows
	fault  func(ctx context.Context, path string, write bool) error
	struck []time.Time
	writes int // all
}

func newFaulty() *faulty { return &faulty{Store: memory.New()} }

// suffer sets the fault; nil ends it.
func (f *faulty) suffer(fault func(ctx context.Context, path string, write bool) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.struck, f.writes = fault, nil, 0
}

func (f *faulty) call(ctx context.Context, path string, write bool) error {
	began := time.Now()
	f.mu.Lock()
	fault := f.fault
	if write {
		f.writes++
	}
	f.mu.Unlock()
	if fault == nil {
		return nil
	}
	err := fault(ctx, path, write)
	if err != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.struck = append(f.struck, began)
	}
	return err
}

// count returns the writes since suffer, those that failed included.
func (f *faulty) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writes
}

// times returns how often a call was struck since suffer.
func (f *faulty) times() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.struck)
}

// gaps returns the times between the calls that were struck since suffer.
func (f *faulty) gaps() (gaps []time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, at := range f.struck[min(1, len(f.struck)):] {
		gaps = append(gaps, at.Sub(f.struck[i]))
	}
	return gaps
}

func (f *faulty) Read(ctx context.Context, path string) (oidc.Object, oidc.Version, error) {
	if err := f.call(ctx, path, false); err != nil {
		return oidc.Object{}, "", err
	}
	return f.Store.Read(ctx, path)
}

func (f *faulty) Write(ctx context.Context, object oidc.Object, base oidc.Version) (oidc.Version, error) {
	if err := f.call(ctx, object.Path, true); err != nil {
		return "", err
	}
	return f.Store.Write(ctx, object, base)
}

// runs has the publisher run in the test's bubble until the test ends.
func (b *bench) runs(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// show has the source show keys, and say so.
func (b *bench) show(set keys.Set) {
	b.source.set(keys.Observation{Origin: "A", Keys: set})
	b.source.changed <- struct{}{}
}

// withTwo adds a second store; the state is in the first.
func withTwo(two oidc.Store) func(*publisher.Config) {
	return func(c *publisher.Config) {
		c.Stores = append(c.Stores, publisher.Store{Name: "two", Store: two})
	}
}
