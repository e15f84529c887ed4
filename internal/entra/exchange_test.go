package entra_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/issuer-sync/issuer-sync/internal/entra"
	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

// world is a cluster, its token in a file, the stand-in, and the real client
// and cache: everything over TLS on loopback.
type world struct {
	*cluster
	server *entra.Server
	file   string
	client *exchange.Client
	cache  *exchange.Cache
	log    *buffer
}

// buffer collects log lines of several goroutines.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{cluster: newCluster(t), file: filepath.Join(t.TempDir(), "token"), log: new(buffer)}
	log := slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug - 10}))
	w.server = run(t, entra.Config{Apps: []entra.App{w.app()}, Roots: w.roots(), Log: log})
	w.project(t, w.mint(t, 1))
	var err error
	w.client, err = exchange.New(exchange.Config{
		Authority:  w.server.URL(),
		Endpoint:   exchange.Endpoint{URL: w.server.URL(), CAData: string(w.server.CA())},
		Assertions: exchange.TokenFile(w.file), Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.cache = exchange.Cached(w.client, exchange.TokenFile(w.file), log)
	t.Cleanup(w.cache.Close)
	return w
}

// project replaces the token file as the kubelet does: in one step.
func (w *world) project(t testing.TB, token string) {
	t.Helper()
	temporary := w.file + ".new"
	if err := os.WriteFile(temporary, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temporary, w.file); err != nil {
		t.Fatal(err)
	}
}

func request() exchange.Request {
	return exchange.Request{Tenant: tenant, Client: client, Scope: exchange.Scope("https://vault.azure.net")}
}

// expect wants an error of the kind and code, or none.
func (w *world) expect(t *testing.T, kind exchange.Kind, aadsts int) *exchange.Error {
	t.Helper()
	_, err := w.cache.AccessToken(t.Context(), request())
	if kind == "" {
		if err != nil {
			t.Errorf("got error %v; want an access token", err)
		}
		return nil
	}
	e, ok := errors.AsType[*exchange.Error](err)
	if !ok || e.Kind != kind || e.AADSTS != aadsts {
		t.Fatalf("got error %v; want kind %q, AADSTS%d", err, kind, aadsts)
	}
	return e
}

func TestExchangeEndToEnd(t *testing.T) {
	w := newWorld(t)
	got, err := w.cache.AccessToken(t.Context(), request())
	if err != nil {
		t.Fatal(err)
	}
	ctx := goidc.ClientContext(t.Context(), trusting(t, w.server))
	provider, err := goidc.NewProvider(ctx, w.server.URL()+"/"+tenant+"/v2.0")
	if err != nil {
		t.Fatal(err)
	}
	verified, err := provider.VerifierContext(ctx, &goidc.Config{ClientID: "https://vault.azure.net"}).Verify(ctx, got.Value.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if d := verified.Expiry.Sub(got.ExpiresAt); d < -time.Second || d > time.Second {
		t.Errorf("the client takes it to end at %v; it says %v", got.ExpiresAt, verified.Expiry)
	}
	if n := w.server.Requests(); n != 1 {
		t.Errorf("%d token requests; want 1", n)
	}
	if !strings.Contains(w.log.String(), `"msg":"exchanged the token"`) {
		t.Errorf("the exchange is not logged:\n%s", w.log)
	}
}

func TestRotationEndToEnd(t *testing.T) {
	w := newWorld(t)
	if _, err := w.cache.AccessToken(t.Context(), request()); err != nil {
		t.Error(err)
	}
	w.publish(t, 1, 2)
	for _, n := range []int{2, 1} {
		w.project(t, w.mint(t, n))
		if _, err := w.client.AccessToken(t.Context(), request()); err != nil {
			t.Errorf("a token of key %d: %v", n, err)
		}
	}
}

// TestCauseAndCure goes through the mistakes that users make, and repairs each:
// the error says what to do, and once it is done it works at once.
func TestCauseAndCure(t *testing.T) {
	w := newWorld(t)
	scope := 0
	for name, test := range map[string]struct {
		spoil, repair func()
		kind          exchange.Kind
		aadsts        int
		hint          string
	}{
		"a token of a key that is not published": {
			spoil: func() { w.project(t, w.mint(t, 3)) }, repair: func() { w.project(t, w.mint(t, 1)) },
			kind: exchange.Rejected, aadsts: 7000272, hint: "published key set",
		},
		"another subject": {
			spoil: func() { w.project(t, w.mint(t, 1, func(c *jwt.Claims) { c.Subject = "other" })) }, repair: func() { w.project(t, w.mint(t, 1)) },
			kind: exchange.Rejected, aadsts: 700213, hint: `subject "other"`,
		},
		"an issuer with a slash": {
			spoil: func() { w.project(t, w.mint(t, 1, func(c *jwt.Claims) { c.Issuer += "/" })) }, repair: func() { w.project(t, w.mint(t, 1)) },
			kind: exchange.Rejected, aadsts: 700211, hint: `the token says issuer "` + w.issuer.String() + `/"`,
		},
		"an expired token": {
			spoil: func() {
				w.project(t, w.mint(t, 1, func(c *jwt.Claims) { c.Expiry = jwt.NewNumericDate(time.Now().Add(-time.Minute)) }))
			},
			repair: func() { w.project(t, w.mint(t, 1)) }, kind: exchange.Expired,
		},
		"no token file": {
			spoil: func() {
				if err := os.Remove(w.file); err != nil {
					t.Fatal(err)
				}
			},
			repair: func() { w.project(t, w.mint(t, 1)) }, kind: exchange.NoToken,
		},
	} {
		test.spoil()
		scope++
		r := request()
		r.Scope = exchange.Scope(fmt.Sprintf("https://%d.example", scope))
		before := w.server.Requests()
		for range 5 {
			_, err := w.cache.AccessToken(t.Context(), r)
			e, ok := errors.AsType[*exchange.Error](err)
			if !ok || e.Kind != test.kind || e.AADSTS != test.aadsts || !strings.Contains(e.Hint, test.hint) {
				t.Errorf("%s: got error %v; want kind %q, AADSTS%d, hint %q", name, err, test.kind, test.aadsts, test.hint)
			}
		}
		if n := w.server.Requests() - before; n > 1 {
			t.Errorf("%s: %d token requests for 5 callers; want at most 1", name, n)
		}
		test.repair()
		if _, err := w.cache.AccessToken(t.Context(), r); err != nil {
			t.Errorf("%s: repaired: %v", name, err)
		}
	}
}

func TestOneExchangeForAHundredFirstCallers(t *testing.T) {
	w := newWorld(t)
	w.server.Disturb(func(int) entra.Fault { return entra.Fault{Delay: 50 * time.Millisecond} })
	start := make(chan struct{})
	var callers sync.WaitGroup
	for range 100 {
		callers.Go(func() {
			<-start
			if _, err := w.cache.AccessToken(t.Context(), request()); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	callers.Wait()
	if n := w.server.Requests(); n != 1 {
		t.Errorf("%d token requests; want 1", n)
	}
	w.server.Disturb(nil)
	if n := w.server.Requests(); n != 0 {
		t.Errorf("%d token requests since then; want 0", n)
	}
}

// TestFaults has what a token endpoint may do, and what becomes of it.
func TestFaults(t *testing.T) {
	first := func(f entra.Fault) func(int) entra.Fault {
		return func(n int) entra.Fault {
			if n == 1 {
				return f
			}
			return entra.Fault{}
		}
	}
	always := func(f entra.Fault) func(int) entra.Fault { return func(int) entra.Fault { return f } }
	for name, test := range map[string]struct {
		disturb    func(int) entra.Fault
		kind       exchange.Kind
		retryAfter time.Duration
		requests   int
		least      time.Duration
	}{
		"one 503":      {first(entra.Fault{Status: 503}), "", 0, 2, 0},
		"one cut":      {first(entra.Fault{Cut: true}), "", 0, 2, 0},
		"always 503":   {always(entra.Fault{Status: 503}), exchange.Unavailable, 2 * time.Second, 3, 0},
		"always cut":   {always(entra.Fault{Cut: true}), exchange.Unavailable, 2 * time.Second, 3, 0},
		"throttled":    {always(entra.Fault{Status: 429, Header: http.Header{"Retry-After": {"17"}}}), exchange.Throttled, 17 * time.Second, 1, 0},
		"a page":       {always(entra.Fault{Status: 200, Body: "<html>"}), exchange.Unavailable, 2 * time.Second, 3, 0},
		"a slow one":   {always(entra.Fault{Delay: 100 * time.Millisecond}), "", 0, 1, 100 * time.Millisecond},
		"a teapot":     {always(entra.Fault{Status: 418}), exchange.Unavailable, 2 * time.Second, 3, 0}, // its error is temporarily_unavailable
		"a 403 page":   {always(entra.Fault{Status: 403, Body: "<html>"}), exchange.Rejected, 0, 1, 0},
		"one redirect": {first(entra.Fault{Status: 302, Header: http.Header{"Location": {"/"}}, Body: "x"}), "", 0, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.server.Disturb(test.disturb)
			began := time.Now()
			e := w.expect(t, test.kind, 0)
			if took := time.Since(began); took < test.least {
				t.Errorf("took %v; want at least %v", took, test.least)
			}
			if e != nil && e.RetryAfter != test.retryAfter {
				t.Errorf("retry after %v; want %v", e.RetryAfter, test.retryAfter)
			}
			if n := w.server.Requests(); n != test.requests {
				t.Errorf("%d token requests; want %d", n, test.requests)
			}
		})
	}
}

func TestEntraThatHangsKeepsNobodyBeyondTheirTime(t *testing.T) {
	w := newWorld(t)
	w.server.Disturb(func(int) entra.Fault { return entra.Fault{Hang: true} })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := w.cache.AccessToken(ctx, request())
	if !errors.Is(err, exchange.Unavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v; want the caller's deadline", err)
	}
}

func TestEntraRefusesConnections(t *testing.T) {
	w := newWorld(t)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := exchange.New(exchange.Config{
		Authority: "https://" + address, Assertions: exchange.TokenFile(w.file), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err = c.AccessToken(t.Context(), request())
	if !errors.Is(err, exchange.Unavailable) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got error %v; want that the connection was refused", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %v; want at most 2 s", took)
	}
}

// TestTokenFileRotatesUnderLoad replaces the file again and again while callers
// make one exchange after the other. A token that was replaced is refused from
// then on, and each caller makes an exchange that began after that.
func TestTokenFileRotatesUnderLoad(t *testing.T) {
	w := newWorld(t)
	subject := func(n int) string { return fmt.Sprintf("%s-%d", pod, n) }
	accept := func(numbers ...int) {
		app := w.app()
		for _, n := range numbers {
			app.Credentials = append(app.Credentials, entra.Credential{Issuer: w.issuer.String(), Subject: subject(n), Audience: audience})
		}
		app.Credentials = app.Credentials[1:]
		if err := w.server.Register(app); err != nil {
			t.Fatal(err)
		}
	}
	rotate := func(n int) {
		token := w.mint(t, 1, func(c *jwt.Claims) { c.Subject = subject(n) })
		accept(n-1, n)
		w.project(t, token)
		accept(n)
	}
	rotate(0)
	done, exchanged := make(chan struct{}), make([]chan struct{}, 4)
	var callers sync.WaitGroup
	for i := range exchanged {
		exchanged[i] = make(chan struct{})
		callers.Go(func() {
			for {
				if _, err := w.client.AccessToken(t.Context(), request()); err != nil {
					t.Error(err)
				}
				select {
				case exchanged[i] <- struct{}{}:
				case <-done:
					return
				}
			}
		})
	}
	for n := range 50 {
		rotate(n + 1)
		for range 2 { // the first may have begun before
			for _, c := range exchanged {
				<-c
			}
		}
	}
	close(done)
	callers.Wait()
}

// TestCanaryEndToEnd has a good token and every refusal, with everything logged
// on both sides, and looks for tokens in errors and lines.
func TestCanaryEndToEnd(t *testing.T) {
	w := newWorld(t)
	tokens := []string{
		w.mint(t, 1),
		w.mint(t, 3),
		w.mint(t, 1, func(c *jwt.Claims) { c.Subject = "other" }),
		w.mint(t, 1, func(c *jwt.Claims) { c.Issuer += "/" }),
		w.mint(t, 1, func(c *jwt.Claims) { c.Audience = jwt.Audience{"other"} }),
		w.mint(t, 1, func(c *jwt.Claims) { c.NotBefore = jwt.NewNumericDate(time.Now().Add(time.Hour)) }),
		w.mint(t, 1, func(c *jwt.Claims) { c.Expiry = jwt.NewNumericDate(time.Now().Add(-time.Hour)) }),
		"canary-" + w.mint(t, 1),
		w.mint(t, 1)[:300],
	}
	shown := new(strings.Builder)
	for _, token := range tokens {
		w.project(t, token)
		got, err := w.client.AccessToken(t.Context(), request())
		fmt.Fprintf(shown, "%v %+v %#v %v %+v %#v\n", got, got, got, err, err, err)
		if e, ok := errors.AsType[*exchange.Error](err); ok {
			fmt.Fprintf(shown, "%+v %#v\n", *e, *e)
		}
		if access := got.Value.Reveal(); access != "" {
			tokens = append(tokens, access)
		}
	}
	shown.WriteString(w.log.String())
	for _, token := range tokens {
		for part := range strings.SplitSeq(token, ".") {
			if decoded, err := base64.RawURLEncoding.DecodeString(part); err == nil && bytes.HasPrefix(decoded, []byte(`{"alg"`)) {
				continue // the header says nothing
			}
			if strings.Contains(shown.String(), part) {
				t.Errorf("found %q in:\n%s", part, shown)
			}
		}
	}
}

func TestAnIPv6StandIn(t *testing.T) {
	server, err := entra.Listen(t.Context(), entra.ListenConfig{Address: "[::1]:0", Names: []string{"login.example"}},
		entra.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		if os.Getenv("CI") != "" { //nolint:forbidigo // CI has every part
			t.Fatal(err)
		}
		t.Skipf("this machine has no IPv6 on loopback, enable it to run this test: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := server.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(server.CA())
	for _, name := range []string{"", "login.example"} {
		address := strings.TrimPrefix(server.URL(), "https://")
		connection, err := (&tls.Dialer{Config: &tls.Config{RootCAs: pool, ServerName: name}}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Errorf("name %q: %v", name, err)
			continue
		}
		_ = connection.Close()
	}
	stop()
	running.Wait()
}

// BenchmarkFirstToken is an exchange that finds its connection open, and one
// with a stand-in that takes 50 ms.
func BenchmarkFirstToken(b *testing.B) {
	w := newWorld(b)
	for name, delay := range map[string]time.Duration{"at-once": 0, "50ms": 50 * time.Millisecond} {
		b.Run(name, func(b *testing.B) {
			w.server.Disturb(func(int) entra.Fault { return entra.Fault{Delay: delay} })
			for b.Loop() {
				if _, err := w.client.AccessToken(b.Context(), request()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
