package exchange_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

func TestEntraIsDown(t *testing.T) {
	cached(t, func(t *testing.T, c *exchange.Cache, s *source, _ string) {
		expect(t, c, "1")
		began := time.Now()
		time.Sleep(30 * time.Minute)
		s.do(fail(&exchange.Error{Kind: exchange.Unavailable, Detail: "down"}))
		for time.Since(began) < 59*time.Minute-time.Second {
			expect(t, c, "1")
			synctest.Wait()
			time.Sleep(time.Second)
		}
		// One every half minute for 29 minutes.
		if n := s.count() - 1; n < 50 || n > 58 {
			t.Errorf("%d exchanges in 29 minutes; want about 58", n)
		}
		time.Sleep(time.Second)
		_, err := c.AccessToken(t.Context(), wanted())
		if e := theError(t, err, exchange.Unavailable); e.RetryAfter != 2*time.Second {
			t.Errorf("got %+v; want retry after 2s", e)
		}
		s.do(issue(time.Hour))
		time.Sleep(2 * time.Second)
		expect(t, c, fmt.Sprint(s.count()+1))
	})
}

func TestOneRefusalForConcurrentCallers(t *testing.T) {
	cached(t, func(t *testing.T, c *exchange.Cache, s *source, _ string) {
		s.do(func(context.Context, int) (exchange.AccessToken, error) {
			time.Sleep(time.Second)
			return exchange.AccessToken{}, &exchange.Error{Kind: exchange.Rejected}
		})
		var callers sync.WaitGroup
		for range 100 {
			callers.Go(func() {
				_, err := c.AccessToken(t.Context(), wanted())
				wantKind(t, err, exchange.Rejected)
			})
		}
		callers.Wait()
		if s.count() != 1 {
			t.Errorf("%d exchanges; want 1", s.count())
		}
	})
}

func TestRefusalIsRememberedForItsToken(t *testing.T) {
	cached(t, func(t *testing.T, c *exchange.Cache, s *source, path string) {
		s.do(fail(&exchange.Error{Kind: exchange.Rejected, AADSTS: 70021}))
		for range 11 { // the last after 9.99 s
			_, err := c.AccessToken(t.Context(), wanted())
			wantKind(t, err, exchange.Rejected)
			time.Sleep(999 * time.Millisecond)
		}
		if s.count() != 1 {
			t.Errorf("%d exchanges in 10 s; want 1", s.count())
		}
		if _, err := c.AccessToken(t.Context(), wanted()); err == nil || s.count() != 2 {
			t.Errorf("%d exchanges after 10 s, error %v; want 2", s.count(), err)
		}
		s.do(issue(time.Hour))
		time.Sleep(time.Second)
		write(t, path, token(t, "repaired", time.Now().Add(time.Hour)))
		expect(t, c, "3") // at once
	})
}

func TestOutageIsRememberedWhateverTheToken(t *testing.T) {
	for name, test := range map[string]struct {
		err  *exchange.Error
		hold time.Duration
	}{
		"throttled, nothing said":   {&exchange.Error{Kind: exchange.Throttled}, 10 * time.Second},
		"throttled for 30 s":        {&exchange.Error{Kind: exchange.Throttled, RetryAfter: 30 * time.Second}, 30 * time.Second},
		"unavailable":               {&exchange.Error{Kind: exchange.Unavailable}, 2 * time.Second},
		"unavailable for a minute":  {&exchange.Error{Kind: exchange.Unavailable, RetryAfter: time.Minute}, time.Minute},
		"throttled for less than 1": {&exchange.Error{Kind: exchange.Throttled, RetryAfter: time.Second}, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			cached(t, func(t *testing.T, c *exchange.Cache, s *source, path string) {
				s.do(fail(test.err))
				began := time.Now()
				for left := test.hold; left > 0; left -= 500 * time.Millisecond {
					_, err := c.AccessToken(t.Context(), wanted())
					if e := theError(t, err, test.err.Kind); e.RetryAfter != left {
						t.Errorf("after %v: retry after %v; want %v", time.Since(began), e.RetryAfter, left)
					}
					write(t, path, token(t, left.String(), time.Now().Add(time.Hour)))
					time.Sleep(500 * time.Millisecond)
				}
				if s.count() != 1 {
					t.Errorf("%d exchanges in %v; want 1", s.count(), test.hold)
				}
				s.do(issue(time.Hour))
				expect(t, c, "2")
			})
		})
	}
}

func TestErrorsOfOtherSourcesAreOutages(t *testing.T) {
	cached(t, func(t *testing.T, c *exchange.Cache, s *source, _ string) {
		other := errors.New("other")
		s.do(fail(other))
		for range 3 {
			if _, err := c.AccessToken(t.Context(), wanted()); !errors.Is(err, other) {
				t.Errorf("got error %v; want %v", err, other)
			}
			time.Sleep(500 * time.Millisecond)
		}
		if s.count() != 1 {
			t.Errorf("%d exchanges; want 1", s.count())
		}
	})
}

func TestTokenFileTroubleIsNotRemembered(t *testing.T) {
	cached(t, func(t *testing.T, c *exchange.Cache, s *source, path string) {
		write(t, path, "half")
		_, err := c.AccessToken(t.Context(), wanted())
		wantKind(t, err, exchange.NoToken)
		if s.count() != 0 {
			t.Error("an exchange without a token")
		}
		time.Sleep(time.Nanosecond) // who came at the same moment has the same answer
		write(t, path, token(t, "second", time.Now().Add(time.Hour)))
		expect(t, c, "1")
	})
}

func TestRefreshThatDoesNotSucceedIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := &source{does: issue(time.Hour)}
		c := exchange.Cached(s, exchange.TokenFile(filepathOf(t)), slog.New(slog.NewTextHandler(&out, nil)))
		defer c.Close()
		expect(t, c, "1")
		time.Sleep(40 * time.Minute)
		s.do(fail(&exchange.Error{Kind: exchange.Rejected, Detail: "answered 401"}))
		for range 20 {
			expect(t, c, "1")
			synctest.Wait()
			time.Sleep(time.Second)
		}
		if n := strings.Count(out.String(), "kept the access token, refreshing it did not succeed"); n != 1 || s.count() != 2 {
			t.Errorf("%d exchanges, %d lines; want 2 and 1:\n%s", s.count(), n, out.String())
		}
		// Throttled for longer than the pause: nothing until Entra said.
		s.do(fail(&exchange.Error{Kind: exchange.Throttled, RetryAfter: 5 * time.Minute}))
		time.Sleep(10 * time.Second)
		expect(t, c, "1")
		synctest.Wait()
		time.Sleep(5*time.Minute - time.Second)
		expect(t, c, "1")
		synctest.Wait()
		if s.count() != 3 {
			t.Errorf("%d exchanges; want 3", s.count())
		}
	})
}

func TestFailuresDoNotPushOutAccessTokens(t *testing.T) {
	cached(t, func(t *testing.T, c *exchange.Cache, s *source, _ string) {
		expect(t, c, "1")
		s.do(fail(&exchange.Error{Kind: exchange.Rejected}))
		for n := range 1000 {
			time.Sleep(time.Millisecond)
			if _, err := c.AccessToken(t.Context(), scope(n)); err == nil {
				t.Fatal("got an access token")
			}
		}
		expect(t, c, "1")
		if want := 1001; s.count() != want {
			t.Errorf("%d exchanges; want %d", s.count(), want)
		}
	})
}

// TestThrottlingIsOfTheClient has Entra refuse one scope: others of the client
// are not asked for, not even in the background; those of another client are.
func TestThrottlingIsOfTheClient(t *testing.T) {
	cached(t, func(t *testing.T, c *exchange.Cache, s *source, _ string) {
		expect(t, c, "1")
		time.Sleep(40 * time.Minute)
		s.do(fail(&exchange.Error{Kind: exchange.Throttled, RetryAfter: 3 * time.Minute}))
		_, err := c.AccessToken(t.Context(), scope(1))
		wantKind(t, err, exchange.Throttled)
		s.do(issue(time.Hour))
		time.Sleep(time.Minute)
		expect(t, c, "1") // due for a refresh
		_, err = c.AccessToken(t.Context(), scope(2))
		if e := theError(t, err, exchange.Throttled); e.RetryAfter != 2*time.Minute {
			t.Errorf("got %+v; want retry after 2m", e)
		}
		synctest.Wait()
		if s.count() != 2 {
			t.Errorf("%d exchanges; want 2", s.count())
		}
		other := wanted()
		other.Client = tenant
		if _, err := c.AccessToken(t.Context(), other); err != nil {
			t.Errorf("another client: %v", err)
		}
		time.Sleep(2 * time.Minute)
		expect(t, c, "1")
		synctest.Wait()
		expect(t, c, "4")
		if _, err := c.AccessToken(t.Context(), scope(2)); err != nil {
			t.Errorf("after Retry-After: %v", err)
		}
	})
}

// TestPanicInAnExchange is an error for its callers, and shows not what it says.
func TestPanicInAnExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := &source{does: func(context.Context, int) (exchange.AccessToken, error) { panic("canary") }}
		c := exchange.Cached(s, exchange.TokenFile(filepathOf(t)), slog.New(slog.NewTextHandler(&out, nil)))
		defer c.Close()
		_, err := c.AccessToken(t.Context(), wanted())
		if wantKind(t, err, exchange.Internal); err.Error() != "internal error: panic of type string" {
			t.Errorf("got error %v", err)
		}
		if got := out.String(); !strings.Contains(got, "type=string") || !strings.Contains(got, "TestPanicInAnExchange") || strings.Contains(got, "canary") {
			t.Errorf("logged %s; want type and stack alone", got)
		}
		s.do(issue(time.Hour))
		time.Sleep(2 * time.Second)
		expect(t, c, "2")
	})
}
