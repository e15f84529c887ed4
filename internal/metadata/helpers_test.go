package metadata_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/httpserver"
	"github.com/issuer-sync/issuer-sync/internal/metadata"
	"github.com/issuer-sync/issuer-sync/pkg/exchange"
	"github.com/issuer-sync/issuer-sync/test/cloud"
)

const (
	tenant   = "11111111-1111-1111-1111-111111111111"
	client   = "22222222-2222-2222-2222-22222222aaaa"
	other    = "33333333-3333-3333-3333-333333333333"
	query    = "?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net"
	secret   = "eyJhbGciOiJSUzI1NiJ9.canary-access-91c7.c2ln"
	asked    = metadata.TokenPath + query
	headHost = "Host: 169.254.169.254\r\n"
	headTrue = "Metadata: true\r\n"
)

var update = flag.Bool("update", false, "rewrite golden files")

// source is a Source that does what it is told, or issues an access token.
type source struct {
	does  func(context.Context, exchange.Request) (exchange.AccessToken, error)
	asked atomic.Int64

	mu   sync.Mutex
	last exchange.Request
}

func (s *source) AccessToken(ctx context.Context, request exchange.Request) (exchange.AccessToken, error) {
	s.asked.Add(1)
	s.mu.Lock()
	s.last = request
	s.mu.Unlock()
	if s.does != nil {
		return s.does(ctx, request)
	}
	return issue(time.Now()), nil
}

func (s *source) request() exchange.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

func issue(now time.Time) exchange.AccessToken {
	return exchange.AccessToken{
		Value:    exchange.NewSecret(secret),
		IssuedAt: now, ExpiresAt: now.Add(86399 * time.Second), ExtendedUntil: now.Add(86399 * time.Second),
	}
}

func fails(err error) func(context.Context, exchange.Request) (exchange.AccessToken, error) {
	return func(context.Context, exchange.Request) (exchange.AccessToken, error) {
		return exchange.AccessToken{}, err
	}
}

// newHandler makes a handler of a source, with more of the config set by the
// functions.
func newHandler(t testing.TB, s metadata.Source, set ...func(*metadata.Config)) *metadata.Handler {
	t.Helper()
	config := metadata.Config{Source: s, TenantID: tenant, ClientID: client, Log: slog.New(slog.DiscardHandler)}
	for _, f := range set {
		f(&config)
	}
	handler, err := metadata.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

// listen serves a handler as the proxy does until the test ends, and returns
// the address.
func listen(t testing.TB, handler http.Handler, log *slog.Logger) string {
	t.Helper()
	server, err := httpserver.Listen(t.Context(), httpserver.Config{
		Name: "metadata", Address: "127.0.0.1:0", Handler: handler, WriteTimeout: 35 * time.Second, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	cloud.Run(t, server.Run)
	return server.Address()
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// answered is what came back for one request.
type answered struct {
	status int
	header http.Header
	body   string
	closed bool // the server closed the connection after it
}

// send writes bytes to the address and reads what comes back until the
// connection is closed, or until nothing is left unanswered: a second request
// is sent after the bytes to find out.
func send(t testing.TB, address, request string) answered {
	t.Helper()
	connection := dial(t, address)
	const marker = "GET " + metadata.ReadyPath + " HTTP/1.1\r\nHost: localhost\r\n\r\n"
	// The server may answer and close before it has read all.
	_, _ = io.WriteString(connection, request+marker)
	reader := bufio.NewReader(connection)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatalf("%.100q: %v", request, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%.100q: %v", request, err)
	}
	a := answered{status: response.StatusCode, header: response.Header, body: string(body)}
	next, err := http.ReadResponse(reader, nil)
	if a.closed = err != nil; !a.closed {
		if next.StatusCode != http.StatusOK {
			t.Errorf("%.100q: the request after it got %s", request, next.Status)
		}
		next.Body.Close() //nolint:errcheck // nothing is lost
	}
	return a
}

// dial connects for at most 20 seconds.
func dial(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() }) //nolint:errcheck // closed already, perhaps
	if err := connection.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return connection.(*net.TCPConn)
}

// get is a request as most clients make it, with more header lines.
func get(target string, lines ...string) string {
	return "GET " + target + " HTTP/1.1\r\n" + headHost + headTrue + strings.Join(lines, "") + "\r\n"
}

// String renders an answer for a golden file: on one line the status, the
// headers that not all answers have, and whether it was the connection's last.
func (a answered) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", a.status)
	for _, name := range slices.Sorted(maps.Keys(a.header)) {
		switch name {
		case "Date", "Cache-Control", "Content-Length", "Content-Type":
		default:
			fmt.Fprintf(&b, ", %s: %s", name, strings.Join(a.header[name], ", "))
		}
	}
	if a.closed {
		b.WriteString(", closed")
	}
	return b.String() + "\n" + a.body + "\n"
}

// checkHeaders holds what all answers have.
func (a answered) checkHeaders(t testing.TB) {
	t.Helper()
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Cache-Control": "no-store", "Content-Length": strconv.Itoa(len(a.body)),
	} {
		if got := a.header[name]; len(got) != 1 || got[0] != want {
			t.Errorf("header %s is %q; want %s", name, got, want)
		}
	}
	if !json.Valid([]byte(a.body)) {
		t.Errorf("no JSON: %s", a.body)
	}
}

// golden compares with a file of testdata.
func golden(t *testing.T, file, got string) {
	t.Helper()
	file = "testdata/" + file
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

// buffer is a bytes.Buffer for concurrent use.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// logTo writes lines without the time and with a fixed duration.
func logTo(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case slog.TimeKey:
				return slog.Attr{}
			case "duration":
				return slog.String("duration", "1ms")
			}
			return a
		},
	}))
}

// sourceOf is a Source that has this access token.
type sourceOf exchange.AccessToken

func (s sourceOf) AccessToken(context.Context, exchange.Request) (exchange.AccessToken, error) {
	return exchange.AccessToken(s), nil
}
