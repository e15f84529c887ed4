package httpserver_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/httpserver"
)

// pipes is a listener without a network, so that a server can run on the clock
// of a bubble.
type pipes struct {
	waiting chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func newPipes() *pipes { return &pipes{waiting: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.waiting:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Addr() net.Addr { return new(net.TCPAddr) }

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// dial connects within a minute, or returns nil. gone is closed once the server
// has hung up.
func (p *pipes) dial() (client net.Conn, gone <-chan struct{}) {
	client, server := net.Pipe()
	hungUp := make(chan struct{})
	select {
	case p.waiting <- &accepted{Conn: server, gone: hungUp}:
		return client, hungUp
	case <-time.After(time.Minute):
		return nil, nil
	}
}

type accepted struct {
	net.Conn
	gone chan struct{}
	once sync.Once
}

func (a *accepted) Close() error {
	a.once.Do(func() { close(a.gone) })
	return a.Conn.Close()
}

// inBubble runs a server in a bubble; stop ends it and returns what Run did.
func inBubble(t *testing.T, config httpserver.Config, test func(t *testing.T, listener *pipes, stop func() error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		listener := newPipes()
		config.Name, config.Address, config.Log = "test", "pipes", slog.New(slog.DiscardHandler)
		server := httpserver.Over(listener, config)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- server.Run(ctx) }()
		stop := sync.OnceValue(func() error {
			cancel()
			return <-done
		})
		test(t, listener, stop)
		stop() //nolint:errcheck // tests of the stop have called it before
	})
}

func TestSlowClientsAreCut(t *testing.T) {
	for _, test := range []struct {
		name, sent   string
		reads        bool
		writeTimeout time.Duration
		want         time.Duration
		idleTimeout  time.Duration
	}{
		{"nothing comes", "", true, 0, 5 * time.Second, 0},
		{"the header stops", "GET / HTTP/1.1\r\nHost:", true, 0, 5 * time.Second, 0},
		{"the body stops", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf", true, 0, 10 * time.Second, 0},
		{"the answer is not read", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", false, 0, 10 * time.Second, 0},
		{"the answer is not read, though it may take its time", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", false, 35 * time.Second, 35 * time.Second, 0},
		{"no second request comes", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", true, 0, time.Minute, 0},
		{"nothing comes, and the server is patient", "", true, 0, 2 * time.Minute, 2 * time.Minute},
		{"no second request comes, and the server is patient", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", true, 0, 2 * time.Minute, 2 * time.Minute},
		{"the body stops, though the server is patient", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf", true, 0, 10 * time.Second, 2 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)                     //nolint:errcheck // it may stop
				io.WriteString(w, strings.Repeat("x", 100<<10)) //nolint:errcheck // it may not be read
			})
			inBubble(t, httpserver.Config{Handler: handler, WriteTimeout: test.writeTimeout, IdleTimeout: test.idleTimeout}, func(t *testing.T, listener *pipes, _ func() error) {
				client, gone := listener.dial()
				start := time.Now()
				if _, err := io.WriteString(client, test.sent); err != nil {
					t.Fatal(err)
				}
				if test.reads {
					go io.Copy(io.Discard, client) //nolint:errcheck // until the server hangs up
				}
				<-gone
				// net/http waits half a second for what was sent to arrive, before it hangs up on an unread body.
				if took := time.Since(start); took < test.want || took > test.want+500*time.Millisecond {
					t.Errorf("cut after %s; want %s", took, test.want)
				}
				client.Close() //nolint:errcheck // the server is gone
			})
		})
	}
}

// TestFirstRequestMayComeLate: a client uses a connection long after it opened it,
// and its body has its time all the same.
func TestFirstRequestMayComeLate(t *testing.T) {
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }) //nolint:errcheck // the answer tells
	inBubble(t, httpserver.Config{Handler: echo, IdleTimeout: 2 * time.Minute}, func(t *testing.T, listener *pipes, _ func() error) {
		client, _ := listener.dial()
		defer client.Close()
		reader := bufio.NewReader(client)
		for range 2 {
			time.Sleep(100 * time.Second)
			io.WriteString(client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n") //nolint:errcheck // the answer tells
			time.Sleep(9 * time.Second)
			io.WriteString(client, "late") //nolint:errcheck // the answer tells
			response, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			response.Body.Close() //nolint:errcheck // it is read
			if err != nil || string(body) != "late" {
				t.Fatalf("%q, %v", body, err)
			}
		}
	})
}

func TestConnectionsAreBounded(t *testing.T) {
	inBubble(t, httpserver.Config{Handler: http.NotFoundHandler()}, func(t *testing.T, listener *pipes, _ func() error) {
		begin := time.Now()
		for i := range 4097 {
			client, _ := listener.dial()
			if client == nil {
				t.Fatalf("connection %d was never accepted", i+1)
			}
			defer client.Close() //nolint:errcheck // it only had to open
			want := time.Duration(0)
			if i == 4096 {
				want = 5 * time.Second // when the others, which are silent, are cut
			}
			if took := time.Since(begin); took != want {
				t.Fatalf("connection %d was accepted after %s; want %s", i+1, took, want)
			}
		}
	})
}

func TestDrainingEnds(t *testing.T) {
	entered := make(chan struct{}, 1)
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-r.Context().Done()
	})
	inBubble(t, httpserver.Config{Handler: handler}, func(t *testing.T, listener *pipes, stop func() error) {
		client, _ := listener.dial()
		go io.Copy(io.Discard, client) //nolint:errcheck // until the server hangs up
		if _, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		<-entered
		begin := time.Now()
		err := stop()
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("stopped after %s; want 10s", took)
		}
		if !errors.Is(err, context.DeadlineExceeded) || err.Error() != `stopping test on "pipes": context deadline exceeded` {
			t.Errorf("error %v", err)
		}
	})
}

// TestIdleTimeout: a connection that is idle for longer is closed.
func TestIdleTimeout(t *testing.T) {
	address, _ := start(t, httpserver.Config{Handler: http.NotFoundHandler(), IdleTimeout: 50 * time.Millisecond})
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil { // of 60 by default
		t.Fatal(err)
	}
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("waiting for the server to close: %v", err)
	}
}
