package publisher_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/internal/store/memory"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

func TestRetryAfterIsHeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.source.set(shows(t, "A", 1))
		b.store.fail(&oidc.RetryAfterError{After: 90 * time.Second, Err: errors.New("429 Too Many Requests")})
		b.Round(t.Context())
		b.store.fail(nil)
		time.Sleep(89 * time.Second)
		if err := b.Round(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "left alone for a while") {
			t.Errorf("after 89 s of 90: %v", err)
		}
		time.Sleep(time.Second)
		if err := b.Round(t.Context()).Err(); err != nil {
			t.Errorf("after 90 s: %v", err)
		}
	})
}

func TestOneBrokenStoreKeepsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		two := &counting{Store: memory.New()}
		b := newBench(t, func(c *publisher.Config) {
			c.Stores = append(c.Stores, publisher.Store{Name: "two", Store: two})
		})
		two.fail(errors.New("503 Service Unavailable"))
		b.source.set(shows(t, "A", 1))
		round := b.Round(t.Context())
		wantIDs(t, "store one", ids(t, 1), published(t, b.store))
		if len(b.served) != 1 || round.Err() == nil || !round.Keys[0].Published.IsZero() {
			t.Errorf("served %v, error %v, keys %+v", b.served, round.Err(), round.Keys)
		}
		two.fail(nil)
		time.Sleep(time.Second)
		round = b.Round(t.Context())
		if err := round.Err(); err != nil || round.Keys[0].Published.IsZero() {
			t.Errorf("after recovery: %v, keys %+v", err, round.Keys)
		}
		wantIDs(t, "store two", ids(t, 1), published(t, two))
	})
}

// While the state cannot be read nothing is decided and nothing written: what
// was decided meanwhile by others, a revocation say, is not known.
func TestWithoutTheStateNothingIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		two := &counting{Store: memory.New()}
		b := newBench(t, func(c *publisher.Config) {
			c.Stores = append(c.Stores, publisher.Store{Name: "two", Store: two})
		})
		b.source.set(shows(t, "A", 1))
		b.Round(t.Context())
		b.store.fail(errors.New("503 Service Unavailable"))
		b.source.set(shows(t, "A", 1, 2))
		time.Sleep(time.Minute)
		round := b.Round(t.Context())
		wantIDs(t, "store two", ids(t, 1), published(t, two))
		want := []publisher.Fault{{Part: "state", Error: `the state is in store "one": reading "openid/v1/jwks" from the store: 503 Service Unavailable`}}
		if diff := cmp.Diff(want, round.Faults, cmpopts.IgnoreUnexported(publisher.Fault{})); diff != "" || len(b.served) != 1 {
			t.Errorf("served %v; faults (-want +got):\n%s", b.served, diff)
		}
		b.store.fail(nil)
		time.Sleep(time.Minute)
		b.Round(t.Context())
		wantIDs(t, "store two after recovery", ids(t, 1, 2), published(t, two))
	})
}

// Where the state cannot be read, the documents of another store are served. They
// are not written: what was revoked since is not known.
func TestLoadFromAnotherStore(t *testing.T) {
	b := newBench(t, nil)
	b.source.set(shows(t, "A", 1))
	b.Round(t.Context())
	broken := newFaulty()
	broken.suffer(func(context.Context, string, bool) error { return errors.New("503 Service Unavailable") })
	again := newBench(t, func(c *publisher.Config) {
		c.Stores = []publisher.Store{{Name: "broken", Store: broken}, {Name: "one", Store: b.store}}
	})
	again.source.set(shows(t, "A", 1, 2))
	if err := again.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "503 Service Unavailable") {
		t.Errorf("loading: %v", err)
	}
	if err := again.Round(t.Context()).Err(); err == nil {
		t.Error("a round without the state reported no error")
	}
	wantIDs(t, "served", ids(t, 1), again.served)
	wantIDs(t, "published", ids(t, 1), published(t, b.store))
}
