package exchange_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

// tokenServer answers every request on loopback over TLS, and notes it. Its
// certificate is httptest's: for 127.0.0.1 and example.com.
type tokenServer struct {
	*httptest.Server
	ca string

	mu          sync.Mutex
	connections int
	requests    []string
	resumed     []bool
	names       []string
}

func newTokenServer(t testing.TB) *tokenServer {
	t.Helper()
	s := new(tokenServer)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requests = append(s.requests, r.Method+" "+r.URL.Path+" "+r.Proto)
		s.resumed = append(s.resumed, r.TLS.DidResume)
		s.names = append(s.names, r.TLS.ServerName)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, good)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.connections++
		}
	}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that are meant to fail
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	s.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	return s
}

// client returns a client of a server with the real transport.
func realClient(t testing.TB, endpoint exchange.Endpoint, change ...func(*exchange.Config)) *exchange.Client {
	t.Helper()
	config := exchange.Config{
		Authority:  "https://login.example/",
		Endpoint:   endpoint,
		Assertions: exchange.TokenFile(tokenFile(t)),
		Log:        slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&config)
	}
	c, err := exchange.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

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

// proxy notes the first line of what is sent to it, and hangs up.
func proxy(t *testing.T) (address string, lines <-chan string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	seen := make(chan string, 10)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			buffer := make([]byte, 100)
			n, _ := connection.Read(buffer)
			line, _, _ := strings.Cut(string(buffer[:n]), "\r\n")
			seen <- line
			_ = connection.Close()
		}
	}()
	return listener.Addr().String(), seen
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
	plain, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := tls.NewListener(plain, &tls.Config{Certificates: s.TLS.Certificates})
	var serving sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		serving.Wait()
	})
	serving.Go(func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer connection.Close()
				context.AfterFunc(t.Context(), func() { _ = connection.Close() })
				reader := bufio.NewReader(connection)
				request, err := http.ReadRequest(reader)
				if err != nil || request.ParseForm() != nil {
					return
				}
				fmt.Fprintf(connection, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(good), good)
				_, _ = http.ReadRequest(reader)
			})
		}
	})
	var lines strings.Builder
	c := realClient(t, exchange.Endpoint{URL: "https://" + listener.Addr().String(), CAData: s.ca}, func(config *exchange.Config) {
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
