package exchange_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

const (
	tenant = "11111111-1111-1111-1111-111111111111"
	client = "22222222-2222-2222-2222-222222222222"
	vault  = "https://vault.azure.net/.default"
	issuer = "https://issuer.example"
	pod    = "system:serviceaccount:default:demo"
)

func wanted() exchange.Request {
	return exchange.Request{Tenant: tenant, Client: client, Scope: vault}
}

// token is a JWT that nobody signed.
func token(t testing.TB, name string, expiry time.Time) string {
	t.Helper()
	claims, err := json.Marshal(map[string]any{
		"iss": issuer, "sub": pod, "aud": []string{"api://AzureADTokenExchange"}, "exp": expiry.Unix(),
	})
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256"}`)) + "." + encode(claims) + "." + encode([]byte("signature "+name))
}

// tokenFile writes a token that lives for an hour, and returns the path.
func tokenFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, token(t, "first", time.Now().Add(time.Hour)))
	return path
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// reply is what a transport answers.
type reply struct {
	status int
	header http.Header
	body   string
	cut    bool // the body ends before it should
	flood  bool // the body is 2 MiB, and then an error
}

// transport answers requests in place of Entra.
type transport func(*http.Request) (reply, error)

// RoundTrip implements http.RoundTripper.
func (f transport) RoundTrip(r *http.Request) (*http.Response, error) {
	a, err := f(r)
	if err != nil {
		return nil, err
	}
	body := io.Reader(strings.NewReader(a.body))
	if a.cut {
		body = io.MultiReader(body, iotest.ErrReader(io.ErrUnexpectedEOF))
	}
	if a.flood {
		body = io.MultiReader(strings.NewReader(strings.Repeat(" ", 2<<20)), iotest.ErrReader(errors.New("read on")))
	}
	return &http.Response{StatusCode: a.status, Header: a.header, Body: io.NopCloser(body)}, nil
}

func answer(status int, body string, header ...string) reply {
	a := reply{status: status, header: make(http.Header), body: body}
	for i := 0; i < len(header); i += 2 {
		a.header.Set(header[i], header[i+1])
	}
	return a
}

const good = `{"token_type":"Bearer","expires_in":3599,"ext_expires_in":7199,"access_token":"access"}`

// newClient is a client whose Entra is the function.
func newClient(t testing.TB, path string, entra transport) *exchange.Client {
	t.Helper()
	c, err := exchange.New(exchange.Config{
		Authority:  "https://login.example/",
		Assertions: exchange.TokenFile(path),
		Transport:  entra,
		Log:        slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// theError is err as an *exchange.Error of the kind.
func theError(t testing.TB, err error, kind exchange.Kind) *exchange.Error {
	t.Helper()
	e, ok := errors.AsType[*exchange.Error](err)
	if !ok || !errors.Is(err, kind) || e.Kind != kind {
		t.Fatalf("got error %v; want one of kind %q", err, kind)
	}
	return e
}

func wantKind(t testing.TB, err error, kind exchange.Kind) {
	t.Helper()
	_ = theError(t, err, kind)
}

// source is a Source of which tests say what it does.
type source struct {
	mu    sync.Mutex
	calls int
	does  func(ctx context.Context, call int) (exchange.AccessToken, error)
}

func (s *source) AccessToken(ctx context.Context, _ exchange.Request) (exchange.AccessToken, error) {
	s.mu.Lock()
	s.calls++
	call, does := s.calls, s.does
	s.mu.Unlock()
	return does(ctx, call)
}

func (s *source) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func (s *source) do(does func(ctx context.Context, call int) (exchange.AccessToken, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.does = does
}

// issued is an access token that begins to live now.
func issued(value string, life time.Duration) exchange.AccessToken {
	now := time.Now()
	return exchange.AccessToken{Value: exchange.NewSecret(value), IssuedAt: now, ExpiresAt: now.Add(life), ExtendedUntil: now.Add(life)}
}
