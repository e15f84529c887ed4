package httpserver_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/httpserver"
)

// start runs a server until the test ends or stop is called; stop returns what Run did.
func start(t *testing.T, config httpserver.Config) (address string, stop func() error) {
	t.Helper()
	config.Name, config.Address = "test", "127.0.0.1:0"
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	server, err := httpserver.Listen(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(cancel)
	return server.Address(), func() error {
		cancel()
		return <-done
	}
}

func get(t *testing.T, client *http.Client, url string) (string, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

func TestRunDrains(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	address, stop := start(t, httpserver.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		fmt.Fprint(w, "whole")
	})})
	answered := make(chan string, 1)
	go func() {
		body, err := get(t, new(http.Client), "http://"+address)
		answered <- fmt.Sprint(body, err)
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	// The listener closes first; then the request under way may end.
	for {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err != nil {
			break
		}
		conn.Close() //nolint:errcheck // it only had to open
	}
	close(leave)
	if got := <-answered; got != "whole<nil>" {
		t.Errorf("the request under way got %s", got)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Run after a clean drain: %v", err)
	}
}

func TestRunLingers(t *testing.T) {
	address, stop := start(t, httpserver.Config{
		Linger:  300 * time.Millisecond,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }),
	})
	stopped := make(chan error, 1)
	begin := time.Now()
	go func() { stopped <- stop() }()
	for {
		select {
		case err := <-stopped:
			if took := time.Since(begin); err != nil || took < 300*time.Millisecond {
				t.Errorf("stopped after %s: %v", took, err)
			}
			return
		default:
		}
		if _, err := get(t, new(http.Client), "http://"+address); err != nil && time.Since(begin) < 250*time.Millisecond {
			t.Fatalf("refused while lingering: %v", err)
		}
	}
}

// TestRunSaysThatItStops: while it lingers, answers have clients open another
// connection, so that none is idle, and about to be used, when it is closed.
func TestRunSaysThatItStops(t *testing.T) {
	stopping := make(chan struct{})
	address, stop := start(t, httpserver.Config{
		Linger:  time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }),
		Log:     slog.New(notices{"stopping soon": stopping}),
	})
	closes := func() bool {
		t.Helper()
		response, err := http.DefaultTransport.RoundTrip(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address, nil))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		return response.Close
	}
	if closes() {
		t.Error("the connection was closed before anything stopped")
	}
	go stop() //nolint:errcheck // it lingers until the process ends
	<-stopping
	if !closes() {
		t.Error("the connection stays open although the server stops")
	}
}

// notices closes a channel when its message is logged.
type notices map[string]chan struct{}

func (notices) Enabled(context.Context, slog.Level) bool { return true }
func (n notices) WithAttrs([]slog.Attr) slog.Handler     { return n }
func (n notices) WithGroup(string) slog.Handler          { return n }

func (n notices) Handle(_ context.Context, r slog.Record) error {
	if noted := n[r.Message]; noted != nil {
		close(noted)
	}
	return nil
}

func TestAddressInUse(t *testing.T) {
	taken := httptest.NewServer(nil)
	defer taken.Close()
	address := taken.Listener.Addr().String()
	_, err := httpserver.Listen(t.Context(), httpserver.Config{Name: "documents", Address: address, Log: slog.New(slog.DiscardHandler)})
	if want := fmt.Sprintf("listening for documents on %q: listen tcp %s: bind: address already in use", address, address); err == nil || err.Error() != want {
		t.Errorf("error %v; want %s", err, want)
	}
}

func TestCloseFreesTheAddress(t *testing.T) {
	config := httpserver.Config{Name: "documents", Address: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)}
	server, err := httpserver.Listen(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Address()); err == nil {
		conn.Close() //nolint:errcheck // it must not have opened
		t.Error("the address still answers")
	}
	want := fmt.Sprintf("closing documents on \"127.0.0.1:0\": close tcp %s: use of closed network connection", server.Address())
	if err := server.Close(); err == nil || err.Error() != want {
		t.Errorf("closed twice: %v; want %s", err, want)
	}
}

func TestListenAll(t *testing.T) {
	free := httptest.NewServer(nil)
	address := free.Listener.Addr().String()
	free.Close()
	log := slog.New(slog.DiscardHandler)
	one, none := httpserver.Config{Name: "one", Address: address, Log: log}, httpserver.Config{Name: "none", Log: log}
	if _, err := httpserver.ListenAll(t.Context(), one, none, httpserver.Config{Name: "other", Address: address, Log: log}); err == nil {
		t.Error("listened twice on one address")
	}
	servers, err := httpserver.ListenAll(t.Context(), one, none) // not if the first is open still
	if err != nil || len(servers) != 1 || servers[0].Address() != address {
		t.Fatalf("%d servers, %v; want one on %s", len(servers), err, address)
	}
	if err := servers[0].Close(); err != nil {
		t.Error(err)
	}
}

func TestOversizedHeader(t *testing.T) {
	address, _ := start(t, httpserver.Config{Handler: http.NotFoundHandler()})
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("a", 32<<10))
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d; want 431", response.StatusCode)
	}
}

// certificate makes a self-signed certificate and key, as PEM.
func certificate(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTLSVersions(t *testing.T) {
	certFile, keyFile := filepath.Join(t.TempDir(), "tls.crt"), filepath.Join(t.TempDir(), "tls.key")
	cert, key := certificate(t, "x.test")
	write(t, certFile, cert)
	write(t, keyFile, key)
	loaded, err := httpserver.NewCertificate(certFile, keyFile, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	for _, test := range []struct {
		name    string
		minimum uint16
		client  *tls.Config
		ok      bool
	}{
		{"TLS 1.3", 0, &tls.Config{}, true},
		{"TLS 1.3 where it is the minimum", tls.VersionTLS13, &tls.Config{}, true},
		{"TLS 1.2 where 1.3 is the minimum", tls.VersionTLS13, &tls.Config{MaxVersion: tls.VersionTLS12}, false},
		{"TLS 1.2 with authenticated encryption", 0, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}, true},
		{"TLS 1.2 with CBC", 0, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, false},
		{"TLS 1.1", 0, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			address, _ := start(t, httpserver.Config{Handler: http.NotFoundHandler(), GetCertificate: loaded.Get, MinTLSVersion: test.minimum})
			test.client.RootCAs, test.client.ServerName = roots, "x.test"
			conn, err := (&tls.Dialer{Config: test.client}).DialContext(t.Context(), "tcp", address)
			if err == nil {
				conn.Close() //nolint:errcheck // it only had to open
			}
			if (err == nil) != test.ok {
				t.Errorf("error %v; want success %v", err, test.ok)
			}
		})
	}
}

func TestCertificateIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
		oldCert, oldKey := certificate(t, "old.test")
		write(t, certFile, oldCert)
		write(t, keyFile, oldKey)
		c, err := httpserver.NewCertificate(certFile, keyFile, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		want := func(when, name string) {
			t.Helper()
			time.Sleep(time.Minute) // of the bubble
			got, err := c.Get(nil)
			if err != nil || got.Leaf.Subject.CommonName != name {
				t.Errorf("%s: %v, %v; want %s", when, got.Leaf.Subject, err, name)
			}
		}
		want("at start", "old.test")
		newCert, newKey := certificate(t, "new.test")
		write(t, certFile, newCert)
		want("in the middle of a renewal", "old.test")
		write(t, keyFile, newKey)
		want("after the renewal", "new.test")
		if err := os.Remove(certFile); err != nil {
			t.Fatal(err)
		}
		want("without the file", "new.test")
		write(t, certFile, oldCert)
		write(t, keyFile, oldKey)
		want("after another renewal", "old.test")
	})
}

// A renewal that went wrong is told once, however many clients connect.
func TestCertificateTroubleIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
		cert, key := certificate(t, "x.test")
		end := time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05.000Z")
		write(t, certFile, cert)
		write(t, keyFile, key)
		var logged strings.Builder
		c, err := httpserver.NewCertificate(certFile, keyFile, slog.New(slog.NewTextHandler(&logged, nil)))
		if err != nil {
			t.Fatal(err)
		}
		want := func(when, err string) {
			t.Helper()
			logged.Reset()
			for range 10 {
				time.Sleep(time.Minute) // of the bubble
				if _, err := c.Get(nil); err != nil {
					t.Error(err)
				}
			}
			lines := strings.Split(strings.TrimSuffix(logged.String(), "\n"), "\n")
			if err == "" && logged.Len() == 0 {
				return
			}
			if len(lines) != 1 || err == "" || !strings.Contains(lines[0], err) || !strings.Contains(lines[0], "not_after="+end) {
				t.Errorf("%s:\n%s\nwant one line with %q and not_after=%s", when, logged.String(), err, end)
			}
		}
		want("unchanged", "")
		write(t, certFile, []byte("garbage"))
		want("broken", "failed to find any PEM data in certificate input")
		want("still broken", "")
		if err := os.Remove(certFile); err != nil {
			t.Fatal(err)
		}
		want("missing", "no such file or directory")
		write(t, certFile, cert)
		want("whole again", "loaded a new certificate")
		write(t, certFile, []byte("garbage"))
		want("broken again", "failed to find any PEM data in certificate input")
	})
}

func TestNewCertificateNamesTheFile(t *testing.T) {
	dir := t.TempDir()
	_, err := httpserver.NewCertificate(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), slog.New(slog.DiscardHandler))
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "tls.crt") {
		t.Errorf("error %v", err)
	}
}

func TestHealth(t *testing.T) {
	var trouble error
	mux := http.NewServeMux()
	httpserver.Health(mux, func() error { return trouble })
	ask := func(path string) string {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		return fmt.Sprint(w.Code, " ", w.Body)
	}
	if got := ask("/readyz"); got != "200 ok\n" {
		t.Errorf("ready: %q", got)
	}
	trouble = errors.New("no documents yet")
	if got := ask("/readyz"); got != "503 no documents yet\n" {
		t.Errorf("not ready: %q", got)
	}
	if got := ask("/healthz"); got != "200 ok\n" {
		t.Errorf("alive: %q", got)
	}
}
