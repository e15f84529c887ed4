package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/internal/state"
	"github.com/issuer-sync/issuer-sync/internal/store/memory"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// medium is a store in memory that several writers share. After each write of a
// document it looks at what a reader finds. Objects can be deleted.
type medium struct {
	t      *testing.T
	memory *memory.Store
	// oneVersion: all objects have one version, as in a ConfigMap.
	oneVersion bool

	mu      sync.Mutex // guards all below; held during a write and the look after it
	writes  int
	deleted map[string]bool
	live    keys.Set // that every reader must find
	never   []string // key IDs that no reader may find
	// look is told the JWK set after each write of it; may be nil.
	look func(keys.Set)
	// during says what goes on, for messages.
	during string
}

func newMedium(t *testing.T, oneVersion bool) *medium {
	t.Helper()
	return &medium{t: t, memory: memory.New(), oneVersion: oneVersion, deleted: make(map[string]bool)}
}

// clone returns a store that holds the same.
func (m *medium) clone(t *testing.T) *medium {
	t.Helper()
	c := newMedium(t, m.oneVersion)
	for _, path := range []string{state.Path, oidc.JWKSPath, oidc.DiscoveryPath} {
		object, _, err := m.Read(t.Context(), path)
		if err == nil {
			_, err = c.memory.Write(t.Context(), object, "")
		}
		if err != nil && !errors.Is(err, oidc.ErrNotFound) {
			t.Fatal(err)
		}
	}
	return c
}

// Read implements oidc.Store.
func (m *medium) Read(ctx context.Context, path string) (oidc.Object, oidc.Version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.read(ctx, path)
}

func (m *medium) read(ctx context.Context, path string) (oidc.Object, oidc.Version, error) {
	object, version, err := m.memory.Read(ctx, path)
	switch {
	case err != nil:
		return oidc.Object{}, "", err
	case m.deleted[path]:
		return oidc.Object{}, "", oidc.ErrNotFound
	case m.oneVersion:
		version = m.version()
	}
	return object, version, nil
}

func (m *medium) version() oidc.Version { return oidc.Version(fmt.Sprint("all ", m.writes)) }

// Write implements oidc.Store.
func (m *medium) Write(ctx context.Context, object oidc.Object, base oidc.Version) (oidc.Version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, current, err := m.read(ctx, object.Path); err != nil && !errors.Is(err, oidc.ErrNotFound) {
		return "", err
	} else if current != base {
		return "", oidc.ErrConflict
	}
	_, kept, err := m.memory.Read(ctx, object.Path) // below a deletion too
	if err != nil && !errors.Is(err, oidc.ErrNotFound) {
		return "", err
	}
	version, err := m.memory.Write(ctx, object, kept)
	if err != nil {
		return "", err
	}
	m.writes++
	delete(m.deleted, object.Path)
	m.inspect(context.WithoutCancel(ctx), object.Path)
	if m.oneVersion {
		version = m.version()
	}
	return version, nil
}

// remove deletes objects, as somebody else would.
func (m *medium) remove(paths ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, path := range paths {
		m.writes++
		m.deleted[path] = true
	}
}

// overwrite replaces an object's body, as somebody else would.
func (m *medium) overwrite(path, body string) {
	m.t.Helper()
	_, version, err := m.memory.Read(m.t.Context(), path)
	if err == nil {
		_, err = m.memory.Write(m.t.Context(), oidc.Object{Path: path, Body: []byte(body), ContentType: "text/plain"}, version)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes++
}

// protect says which keys every reader must find from now on.
func (m *medium) protect(numbers ...int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.live = keytest.Set(m.t, numbers...)
}

// ban says which keys no reader may find from now on.
func (m *medium) ban(numbers ...int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.never = keytest.Set(m.t, numbers...).IDs()
}

// count returns the number of writes so far.
func (m *medium) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes
}

// inspect looks at the documents as a reader who comes right after a write.
func (m *medium) inspect(ctx context.Context, written string) {
	if written == state.Path {
		return
	}
	fault := func(format string, args ...any) {
		m.t.Errorf("%s: after a write of %s: %s", m.during, written, fmt.Sprintf(format, args...))
	}
	jwks, _, err := m.read(ctx, oidc.JWKSPath)
	if err != nil {
		fault("a reader finds no JWK set: %v", err)
		return
	}
	set, skipped, err := keys.ParseJWKS(oidc.JWKSPath, jwks.Body)
	if err != nil || len(skipped) > 0 || set.Len() == 0 {
		fault("a reader finds a JWK set with %d keys and %v: %v", set.Len(), skipped, err)
	}
	if lost := m.live.Without(set); lost.Len() > 0 {
		fault("live keys are missing: %v", lost.IDs())
	}
	for _, id := range m.never {
		if _, found := set.Key(id); found {
			fault("key %s is back", id)
		}
	}
	if written == oidc.JWKSPath && m.look != nil {
		m.look(set)
	}
}

// step is one call that a writer makes of a store, before or after it is done.
type step struct {
	call  int // counted from 1
	write int // counted from 1; 0 for a read
	path  string
	done  bool
}

// door is one writer's way to a store. It asks at before and after each call;
// an error is the call's answer.
type door struct {
	oidc.Store
	at func(step) error

	mu            sync.Mutex // guards the counts
	calls, writes int
}

// open counts from 1 again.
func (d *door) open(at func(step) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls, d.writes, d.at = 0, 0, at
}

func (d *door) begin(path string, write bool) (step, func(step) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls++
	s := step{call: d.calls, path: path}
	if write {
		d.writes++
		s.write = d.writes
	}
	if d.at == nil {
		return s, func(step) error { return nil }
	}
	return s, d.at
}

// Read implements oidc.Store.
func (d *door) Read(ctx context.Context, path string) (object oidc.Object, version oidc.Version, err error) {
	err = d.pass(path, false, func() (err error) {
		object, version, err = d.Store.Read(ctx, path)
		return err
	})
	return object, version, err
}

// Write implements oidc.Store.
func (d *door) Write(ctx context.Context, object oidc.Object, base oidc.Version) (version oidc.Version, err error) {
	err = d.pass(object.Path, true, func() (err error) {
		version, err = d.Store.Write(ctx, object, base)
		return err
	})
	return version, err
}

func (d *door) pass(path string, write bool, call func() error) error {
	s, at := d.begin(path, write)
	if err := at(s); err != nil {
		return err
	}
	err := call()
	s.done = true
	if late := at(s); late != nil {
		return late
	}
	return err
}

// wallClock is a clock in the test's hands.
type wallClock struct {
	mu      sync.Mutex
	wall    time.Time
	elapsed time.Duration
}

func newWallClock() *wallClock {
	return &wallClock{wall: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
}

func (c *wallClock) read() (time.Time, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall, c.elapsed
}

// pass lets time pass.
func (c *wallClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.elapsed = c.wall.Add(d), c.elapsed+d
}

// set puts the wall clock forward or back.
func (c *wallClock) set(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(by)
}

// newWriter returns a process that has just started, by default with the system clock.
func newWriter(t *testing.T, store oidc.Store, clock *wallClock, source *origins, configure ...func(*publisher.Config)) *bench {
	t.Helper()
	b := newBench(t, func(c *publisher.Config) {
		c.Sources = []publisher.Source{source}
		c.Stores[0].Store = store
		if clock != nil {
			c.Clock = clock.read
		}
		for _, change := range configure {
			change(c)
		}
	})
	b.source = source
	return b
}
