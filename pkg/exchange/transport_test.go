package exchange_test

import (
	"bufio"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

func TestAnExchangeIsOneRoundTrip(t *testing.T) {
	s := newTokenServer(t)
	c := realClient(t, exchange.Endpoint{URL: s.URL, CAData: s.ca})
	for range 3 {
		if _, err := c.AccessToken(t.Context(), wanted()); err != nil {
			t.Fatal(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	post := "POST /" + tenant + "/oauth2/v2.0/token HTTP/1.1"
	if diff := cmp.Diff([]string{post, post, post}, s.requests); diff != "" || s.connections != 1 {
		t.Errorf("%d connections, requests (-want +got):\n%s", s.connections, diff)
	}
}

func TestAClosedConnectionIsNoFailureAndTLSResumes(t *testing.T) {
	s := newTokenServer(t)
	var lines strings.Builder
	c := realClient(t, exchange.Endpoint{URL: s.URL, CAData: s.ca}, func(config *exchange.Config) {
		config.Log = slog.New(slog.NewTextHandler(&lines, nil))
	})
	for range 3 {
		if _, err := c.AccessToken(t.Context(), wanted()); err != nil {
			t.Fatal(err)
		}
		s.CloseClientConnections()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if diff := cmp.Diff([]bool{false, true, true}, s.resumed); diff != "" {
		t.Errorf("resumed (-want +got):\n%s", diff)
	}
	if n := strings.Count(lines.String(), "attempts=1 "); n != 3 {
		t.Errorf("%d exchanges at the first attempt; want 3:\n%s", n, lines.String())
	}
}

func TestSNIName(t *testing.T) {
	s := newTokenServer(t)
	c := realClient(t, exchange.Endpoint{URL: s.URL, CAData: s.ca, SNIName: "example.com"})
	if _, err := c.AccessToken(t.Context(), wanted()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"example.com"}, s.names); diff != "" {
		t.Errorf("server names (-want +got):\n%s", diff)
	}
	c = realClient(t, exchange.Endpoint{URL: s.URL, CAData: s.ca, SNIName: "other.test"})
	_, err := c.AccessToken(t.Context(), wanted())
	e := theError(t, err, exchange.Unavailable)
	if !strings.HasPrefix(e.Detail, "tls: failed to verify certificate: x509: certificate is valid for example.com") {
		t.Errorf("got error %v; want that the name differs", err)
	}
}

func TestCAFileMayBeReplaced(t *testing.T) {
	s := newTokenServer(t)
	path := filepath.Join(t.TempDir(), "ca.crt")
	other, err := os.ReadFile("testdata/other-ca.crt")
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(other))
	c := realClient(t, exchange.Endpoint{URL: s.URL, CAFile: path})
	_, err = c.AccessToken(t.Context(), wanted())
	if e := theError(t, err, exchange.Unavailable); !strings.Contains(e.Detail, "unknown authority") {
		t.Errorf("got error %v; want that the CA is unknown", err)
	}
	for _, step := range []struct {
		what   string
		change func()
	}{
		{"the right CA", func() { write(t, path, s.ca) }},
		{"in the middle of a replacement", func() { write(t, path, "") }},
		{"junk", func() { write(t, path, "junk") }},
		{"missing", func() {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}},
		{"the right CA again", func() { write(t, path, s.ca+"\n") }},
	} {
		step.change()
		if _, err := c.AccessToken(t.Context(), wanted()); err != nil {
			t.Errorf("%s: %v", step.what, err)
		}
	}
	write(t, path, string(other))
	if _, err = c.AccessToken(t.Context(), wanted()); err == nil {
		t.Error("a CA that was withdrawn is trusted")
	}
}

func TestTheSystemsCAsAreNotForALoopbackServer(t *testing.T) {
	s := newTokenServer(t)
	_, err := realClient(t, exchange.Endpoint{URL: s.URL}).AccessToken(t.Context(), wanted())
	if e := theError(t, err, exchange.Unavailable); !strings.Contains(e.Detail, "failed to verify certificate") {
		t.Errorf("got error %v; want that the certificate is not trusted", err)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	s := newTokenServer(t)
	redirecting := httptest.NewTLSServer(http.RedirectHandler(s.URL, http.StatusTemporaryRedirect))
	defer redirecting.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: redirecting.Certificate().Raw}))
	_, err := realClient(t, exchange.Endpoint{URL: redirecting.URL, CAData: ca + s.ca}).AccessToken(t.Context(), wanted())
	if e := theError(t, err, exchange.Unavailable); e.Status != http.StatusTemporaryRedirect || len(s.requests) != 0 {
		t.Errorf("got %v, and %d requests where the redirect led", err, len(s.requests))
	}
}

// Nothing is ever at 0.0.0.1: connecting fails at once, without the network.
const nowhere = "https://0.0.0.1"

// TestMain sets the environment's proxy before anything asks for it: net/http
// looks once. It is never used for loopback.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy"} {
		if err := os.Setenv(name, "http://127.0.0.1:1"); err != nil {
			panic(err)
		}
	}
	m.Run()
}

func TestTheEnvironmentsProxyIsNotUsed(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Millisecond) // one attempt
	defer cancel()
	_, err := realClient(t, exchange.Endpoint{}, func(c *exchange.Config) { c.Authority = nowhere }).AccessToken(ctx, wanted())
	if e := theError(t, err, exchange.Unavailable); strings.Contains(e.Detail, "proxyconnect") {
		t.Errorf("the proxy was asked: %v", err)
	}
}

func TestAProxyIsUsedIfGiven(t *testing.T) {
	address, lines := proxy(t)
	c := realClient(t, exchange.Endpoint{}, func(c *exchange.Config) {
		c.Authority = nowhere
		c.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: address})
	})
	_, err := c.AccessToken(t.Context(), wanted())
	wantKind(t, err, exchange.Unavailable)
	select {
	case line := <-lines:
		if line != "CONNECT 0.0.0.1:443 HTTP/1.1" {
			t.Errorf("the proxy was asked: %s", line)
		}
	default:
		t.Errorf("the proxy was not asked: %v", err)
	}
}

// TestAConnectionThatDiesWithARequestIsNoFailure has a server that hangs up on
// the second request of each connection, as one does whose idle time ends just
// then.
func TestAConnectionThatDiesWithARequestIsNoFailure(t *testing.T) {
	s := newTokenServer(t)
	address := rawTokenServer(t, s, func(connection io.Writer, _ *http.Request, more *bufio.Reader) {
		fmt.Fprintf(connection, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(good), good)
		_, _ = http.ReadRequest(more)
	})
	var lines strings.Builder
	c := realClient(t, exchange.Endpoint{URL: address, CAData: s.ca}, func(config *exchange.Config) {
		config.Log = slog.New(slog.NewTextHandler(&lines, nil))
	})
	for range 3 {
		if _, err := c.AccessToken(t.Context(), wanted()); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(lines.String(), "attempts=1 "); n != 3 {
		t.Errorf("%d exchanges at the first attempt; want 3:\n%s", n, lines.String())
	}
}

// TestAProxyThatRefuses is named, with its status.
func TestAProxyThatRefuses(t *testing.T) {
	address := rawServer(t, nil, func(connection net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(connection)); err == nil {
			fmt.Fprint(connection, "HTTP/1.1 407 canary\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
		}
	})
	c := realClient(t, exchange.Endpoint{}, func(c *exchange.Config) {
		c.Authority = nowhere
		c.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: address})
	})
	_, err := c.AccessToken(t.Context(), wanted())
	if e := theError(t, err, exchange.Unavailable); e.Detail != "the HTTP proxy answered 407 to CONNECT" {
		t.Errorf("got error %v", err)
	}
}

// TestCAFileThatIsNone: a pipe would block every exchange.
func TestCAFileThatIsNone(t *testing.T) {
	s := newTokenServer(t)
	path := filepath.Join(t.TempDir(), "ca.crt")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := exchange.New(exchange.Config{Authority: s.URL, Endpoint: exchange.Endpoint{URL: s.URL, CAFile: path}})
	if want := fmt.Sprintf("reading CA file %q of the custom token endpoint: it is not a regular file", path); err == nil || err.Error() != want {
		t.Fatalf("got error %v; want %s", err, want)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(t, path, s.ca)
	c := realClient(t, exchange.Endpoint{URL: s.URL, CAFile: path})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AccessToken(t.Context(), wanted()); err != nil {
		t.Errorf("a pipe in the place of the CA file: %v", err)
	}
}
