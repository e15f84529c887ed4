package accounts_test

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/issuer-sync/issuer-sync/internal/accounts"
)

const (
	clientID      = "11111111-2222-3333-4444-555555555555"
	otherClientID = "66666666-7777-8888-9999-aaaaaaaaaaaa"
)

// patience is how long a test waits for what must happen soon.
const patience = 30 * time.Second

func newCache(t testing.TB, config accounts.Config) *accounts.Cache {
	t.Helper()
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	cache, err := accounts.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

// run runs the cache until the test ends, and returns when it is synced.
func run(t testing.TB, config accounts.Config) *accounts.Cache {
	t.Helper()
	synced := make(messages, 1)
	config.Log = slog.New(synced)
	cache := newCache(t, config)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- cache.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("Run does not end")
		}
	})
	select {
	case <-synced:
	case <-time.After(patience):
		t.Fatal("the cache is not synced")
	}
	return cache
}

// messages is told when a cache is synced.
type messages chan struct{}

func (messages) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }
func (m messages) WithAttrs([]slog.Attr) slog.Handler             { return m }
func (m messages) WithGroup(string) slog.Handler                  { return m }

func (m messages) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "cached service accounts" {
		m <- struct{}{}
	}
	return nil
}

// spy sees all requests of a client.
type spy struct {
	mu       sync.Mutex
	requests []string // method and URL, without server
	answered func(r *http.Request, status int)
}

// on returns the configuration with the spy in it.
func (s *spy) on(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			s.mu.Lock()
			s.requests = append(s.requests, r.Method+" "+r.URL.RequestURI())
			s.mu.Unlock()
			response, err := next.RoundTrip(r)
			if err == nil && s.answered != nil {
				s.answered(r, response.StatusCode)
			}
			return response, err
		})
	})
	return config
}

func (s *spy) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
