package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

// cached runs a test in a bubble, with a cache around a source that issues
// access tokens of one hour, named by the number of the exchange.
func cached(t *testing.T, test func(t *testing.T, c *exchange.Cache, s *source, path string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		path := filepathOf(t)
		s := &source{does: issue(time.Hour)}
		c := exchange.Cached(s, exchange.TokenFile(path), slog.New(slog.DiscardHandler))
		defer c.Close()
		test(t, c, s, path)
	})
}

// filepathOf is a token file that outlives every test.
func filepathOf(t *testing.T) string {
	t.Helper()
	path := tokenFile(t)
	write(t, path, token(t, "first", time.Now().Add(1000*time.Hour)))
	return path
}

func issue(life time.Duration) func(context.Context, int) (exchange.AccessToken, error) {
	return func(_ context.Context, call int) (exchange.AccessToken, error) {
		return issued(fmt.Sprint(call), life), nil
	}
}

func fail(err error) func(context.Context, int) (exchange.AccessToken, error) {
	return func(context.Context, int) (exchange.AccessToken, error) { return exchange.AccessToken{}, err }
}

// expect asks the cache and wants the access token of an exchange.
func expect(t *testing.T, c *exchange.Cache, want string) {
	t.Helper()
	got, err := c.AccessToken(t.Context(), wanted())
	if err != nil || got.Value.Reveal() != want {
		t.Errorf("got access token %q, %v; want that of exchange %s", got.Value.Reveal(), err, want)
	}
}

func TestCacheServesUntilHalfOfLife(t *testing.T) {
	cached(t, func(t *testing.T, c *exchange.Cache, s *source, _ string) {
		for range 10 {
			expect(t, c, "1")
		}
		time.Sleep(30*time.Minute - time.Nanosecond)
		expect(t, c, "1")
		synctest.Wait()
		if s.count() != 1 {
			t.Errorf("%d exchanges before half of life; want 1", s.count())
		}
	})
}

func TestCacheRefreshesInTheBackground(t *testing.T) {
	cached(t, func(t *testing.T, c *exchange.Cache, s *source, _ string) {
		expect(t, c, "1")
		time.Sleep(30 * time.Minute)
		s.do(func(ctx context.Context, call int) (exchange.AccessToken, error) {
			time.Sleep(5 * time.Second)
			return issue(time.Hour)(ctx, call)
		})
		began := time.Now()
		for range 10 {
			expect(t, c, "1")
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("callers waited %v for the refresh", took)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		expect(t, c, "2")
		if s.count() != 2 {
			t.Errorf("%d exchanges; want 2", s.count())
		}
	})
}

func TestIdleAccessTokensAreNotRefreshed(t *testing.T) {
	cached(t, func(t *testing.T, c *exchange.Cache, s *source, _ string) {
		expect(t, c, "1")
		time.Sleep(24 * time.Hour)
		if s.count() != 1 {
			t.Errorf("%d exchanges that nobody asked for", s.count()-1)
		}
		expect(t, c, "2")
	})
}

// TestEntraIsDown has an outage from half of life on: callers notice nothing
// until a minute before the end, and then are told when to come back.
func TestOneExchangeForConcurrentCallers(t *testing.T) {
	cached(t, func(t *testing.T, c *exchange.Cache, s *source, _ string) {
		s.do(func(ctx context.Context, call int) (exchange.AccessToken, error) {
			time.Sleep(time.Second)
			return issue(time.Hour)(ctx, call)
		})
		var callers sync.WaitGroup
		for range 100 {
			callers.Go(func() { expect(t, c, "1") })
		}
		callers.Wait()
		if s.count() != 1 {
			t.Errorf("%d exchanges; want 1", s.count())
		}
	})
}

// assertions is a token of which tests say what it is, each time it is read.
type assertions func() exchange.Assertion

func (f assertions) Assertion(context.Context) (exchange.Assertion, error) { return f(), nil }

// TestWhatBecomesKnownMeanwhile lets another caller make the exchange while one
// is on the way to it: its outcome is the answer for both.
func TestWhatBecomesKnownMeanwhile(t *testing.T) {
	refusal := &exchange.Error{Kind: exchange.Rejected}
	for name, test := range map[string]struct {
		second func(context.Context, int) (exchange.AccessToken, error)
		kind   exchange.Kind
	}{
		"an access token": {issue(time.Hour), ""},
		"a refusal":       {fail(refusal), exchange.Rejected},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var c *exchange.Cache
				s := &source{does: fail(refusal)}
				current := exchange.Assertion{}
				meanwhile := func() {}
				file := assertions(func() exchange.Assertion {
					then := meanwhile
					meanwhile = func() {}
					then()
					return current
				})
				c = exchange.Cached(s, file, slog.New(slog.DiscardHandler))
				defer c.Close()
				ask := func(kind exchange.Kind) {
					t.Helper()
					if _, err := c.AccessToken(t.Context(), wanted()); !errors.Is(err, kind) && (kind != "" || err != nil) {
						t.Errorf("got error %v; want %q", err, kind)
					}
				}
				ask(exchange.Rejected)
				time.Sleep(time.Second)
				meanwhile = func() { // the token is replaced, and somebody else asks
					current.Fingerprint[0] = 1
					s.do(test.second)
					time.Sleep(time.Millisecond)
					ask(test.kind)
				}
				ask(test.kind)
				if s.count() != 2 {
					t.Errorf("%d exchanges; want 2", s.count())
				}
			})
		})
	}
}

func TestCallersContextsEndSeparately(t *testing.T) {
	cached(t, func(t *testing.T, c *exchange.Cache, s *source, _ string) {
		s.do(func(ctx context.Context, call int) (exchange.AccessToken, error) {
			select {
			case <-time.After(5 * time.Second):
			case <-ctx.Done():
				return exchange.AccessToken{}, ctx.Err()
			}
			return issue(time.Hour)(ctx, call)
		})
		var callers sync.WaitGroup
		callers.Go(func() { // the one that started it
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			began := time.Now()
			_, err := c.AccessToken(ctx, wanted())
			wantKind(t, err, exchange.Unavailable)
			if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != time.Second {
				t.Errorf("got error %v after %v; want the deadline, after 1s", err, took)
			}
		})
		time.Sleep(time.Millisecond)
		callers.Go(func() { expect(t, c, "1") })
		callers.Wait()
		if s.count() != 1 {
			t.Errorf("%d exchanges; want 1", s.count())
		}
	})
}

func TestExchangeGoesOnWhenEveryCallerHasGone(t *testing.T) {
	cached(t, func(t *testing.T, c *exchange.Cache, s *source, _ string) {
		s.do(func(ctx context.Context, call int) (exchange.AccessToken, error) {
			time.Sleep(time.Second)
			return issue(time.Hour)(ctx, call)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond) // as adal's probe
		defer cancel()
		if _, err := c.AccessToken(ctx, wanted()); err == nil {
			t.Fatal("got an access token before there was one")
		}
		time.Sleep(time.Second)
		expect(t, c, "1")
		if s.count() != 1 {
			t.Errorf("%d exchanges; want 1", s.count())
		}
	})
}

func TestCacheIsKeyedByTheWholeRequest(t *testing.T) {
	cached(t, func(t *testing.T, c *exchange.Cache, _ *source, _ string) {
		for range 2 {
			for n, change := range []func(*exchange.Request){
				func(*exchange.Request) {},
				func(r *exchange.Request) { r.Tenant = client },
				func(r *exchange.Request) { r.Client = tenant },
				func(r *exchange.Request) { r.Scope += "/.default" },
			} {
				request := wanted()
				change(&request)
				got, err := c.AccessToken(t.Context(), request)
				if want := fmt.Sprint(n + 1); err != nil || got.Value.Reveal() != want {
					t.Errorf("%+v: got that of exchange %s, %v; want %s", request, got.Value.Reveal(), err, want)
				}
			}
		}
	})
}

// scope is one of any number of requests.
func scope(n int) exchange.Request {
	request := wanted()
	request.Scope = exchange.Scope(fmt.Sprintf("https://%d.example", n))
	return request
}

func TestCacheIsBounded(t *testing.T) {
	cached(t, func(t *testing.T, c *exchange.Cache, s *source, _ string) {
		ask := func(n int) {
			t.Helper()
			if _, err := c.AccessToken(t.Context(), scope(n)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		for n := range 256 {
			ask(n)
		}
		ask(0) // now 1 is the one whose use is the longest ago
		ask(256)
		before := s.count()
		ask(0)
		ask(256)
		if s.count() != before {
			t.Error("an access token that was in use has left")
		}
		ask(1)
		if s.count() != before+1 {
			t.Error("the cache has grown beyond 256")
		}
	})
}

func TestTooManyAtOnce(t *testing.T) {
	cached(t, func(t *testing.T, c *exchange.Cache, s *source, _ string) {
		s.do(func(ctx context.Context, call int) (exchange.AccessToken, error) {
			time.Sleep(time.Second)
			return issue(time.Hour)(ctx, call)
		})
		var callers sync.WaitGroup
		for n := range 256 {
			callers.Go(func() {
				if _, err := c.AccessToken(t.Context(), scope(n)); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		_, err := c.AccessToken(t.Context(), wanted())
		e := theError(t, err, exchange.Unavailable)
		if e.Detail != "too many different access tokens are asked for at once" || e.RetryAfter != 2*time.Second {
			t.Errorf("got %+v", e)
		}
		callers.Wait()
		if _, err := c.AccessToken(t.Context(), wanted()); err != nil {
			t.Error(err)
		}
	})
}

func TestInvalidRequestsLeaveNoEntry(t *testing.T) {
	cached(t, func(t *testing.T, c *exchange.Cache, s *source, _ string) {
		request := wanted()
		request.Client = "demo"
		_, err := c.AccessToken(t.Context(), request)
		wantKind(t, err, exchange.Invalid)
		if s.count() != 0 {
			t.Error("an invalid request was exchanged")
		}
	})
}

func TestShortLivedAccessTokensAreNotKept(t *testing.T) {
	cached(t, func(t *testing.T, c *exchange.Cache, s *source, _ string) {
		s.do(issue(time.Minute))
		expect(t, c, "1")
		expect(t, c, "2")
	})
}

func TestClose(t *testing.T) {
	cached(t, func(t *testing.T, c *exchange.Cache, s *source, _ string) {
		expect(t, c, "1")
		s.do(func(ctx context.Context, _ int) (exchange.AccessToken, error) {
			<-ctx.Done()
			return exchange.AccessToken{}, ctx.Err()
		})
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if _, err := c.AccessToken(t.Context(), scope(1)); !errors.Is(err, context.Canceled) {
				t.Errorf("got error %v; want that the exchange was cancelled", err)
			}
		})
		synctest.Wait()
		c.Close()
		waiting.Wait()
		expect(t, c, "1")
		_, err := c.AccessToken(t.Context(), scope(2))
		if e := theError(t, err, exchange.Unavailable); e.Detail != "shutting down" {
			t.Errorf("got %+v", e)
		}
		time.Sleep(40 * time.Minute)
		expect(t, c, "1") // and no refresh
		synctest.Wait()
		if s.count() != 2 {
			t.Errorf("%d exchanges; want 2", s.count())
		}
	})
}

// TestLastMinutesOfAnAccessToken: callers wait for the refresh then, but not
// for longer than two seconds of it, and not while Entra is known to be down.
func TestLastMinutesOfAnAccessToken(t *testing.T) {
	after := func(wait time.Duration, does func(context.Context, int) (exchange.AccessToken, error)) func(context.Context, int) (exchange.AccessToken, error) {
		return func(ctx context.Context, call int) (exchange.AccessToken, error) {
			time.Sleep(wait)
			return does(ctx, call)
		}
	}
	down := fail(&exchange.Error{Kind: exchange.Unavailable})
	for _, test := range []struct {
		name  string
		age   time.Duration
		does  func(context.Context, int) (exchange.AccessToken, error)
		want  string
		waits time.Duration
	}{
		{"before them", 55*time.Minute - 1, after(time.Second, issue(time.Hour)), "1", 0},
		{"Entra answers", 55 * time.Minute, after(time.Second, issue(time.Hour)), "2", time.Second},
		{"at the last moment", 59*time.Minute - 1, after(time.Second, issue(time.Hour)), "2", time.Second},
		{"Entra is slow", 55 * time.Minute, after(5*time.Second, issue(time.Hour)), "1", 2 * time.Second},
		{"Entra is down", 55 * time.Minute, after(time.Second, down), "1", time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			cached(t, func(t *testing.T, c *exchange.Cache, s *source, _ string) {
				expect(t, c, "1")
				time.Sleep(test.age)
				s.do(test.does)
				began := time.Now()
				expect(t, c, test.want)
				if took := time.Since(began); took != test.waits {
					t.Errorf("the first waited %v; want %v", took, test.waits)
				}
				again := time.Now()
				expect(t, c, test.want)
				if took := time.Since(again); took != 0 {
					t.Errorf("the next waited %v", took)
				}
				time.Sleep(10 * time.Second)
			})
		})
	}
}

func TestNobodyWaitsForARefreshWhileEntraIsDown(t *testing.T) {
	cached(t, func(t *testing.T, c *exchange.Cache, s *source, _ string) {
		expect(t, c, "1")
		s.do(func(context.Context, int) (exchange.AccessToken, error) {
			time.Sleep(20 * time.Second)
			return exchange.AccessToken{}, &exchange.Error{Kind: exchange.Unavailable}
		})
		time.Sleep(53 * time.Minute)
		for range 50 { // the first fails 20 s later, with more than 5 minutes left
			began := time.Now()
			expect(t, c, "1")
			if took := time.Since(began); took != 0 {
				t.Fatalf("waited %v", took)
			}
			time.Sleep(5 * time.Second)
		}
	})
}
