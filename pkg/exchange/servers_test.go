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
	"strings"
	"sync"
	"testing"

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

// rawServer leaves each connection to a function, over TLS if there is a
// configuration for it. The connection ends with the function or with the test.
func rawServer(t *testing.T, config *tls.Config, serve func(net.Conn)) (address string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
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
				defer context.AfterFunc(t.Context(), func() { _ = connection.Close() })()
				serve(connection)
			})
		}
	})
	return listener.Addr().String()
}

// rawTokenServer is a rawServer with the certificate of another server. The
// function gets the first request of each connection and what follows it.
func rawTokenServer(t *testing.T, s *tokenServer, answer func(connection io.Writer, first *http.Request, more *bufio.Reader)) (url string) {
	t.Helper()
	return "https://" + rawServer(t, &tls.Config{Certificates: s.TLS.Certificates}, func(connection net.Conn) {
		more := bufio.NewReader(connection)
		if first, err := http.ReadRequest(more); err == nil && first.ParseForm() == nil {
			answer(connection, first, more)
		}
	})
}

// proxy notes the first line of what is sent to it, and hangs up.
func proxy(t *testing.T) (address string, lines <-chan string) {
	t.Helper()
	seen := make(chan string, 10)
	return rawServer(t, nil, func(connection net.Conn) {
		buffer := make([]byte, 100)
		n, _ := connection.Read(buffer)
		line, _, _ := strings.Cut(string(buffer[:n]), "\r\n")
		seen <- line
	}), seen
}
