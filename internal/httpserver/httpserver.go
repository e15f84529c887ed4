// Package httpserver runs the project's HTTP servers: bounded in every
// direction, drained on shutdown, with certificates that are read again when
// their files change. It knows nothing of what it serves.
package httpserver

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"
)

// Limits of every server. A client that needs more is broken or hostile.
const (
	readHeaderTimeout   = 5 * time.Second
	readTimeout         = 10 * time.Second
	defaultWriteTimeout = 10 * time.Second
	defaultIdleTimeout  = 60 * time.Second
	maxHeaderBytes      = 16 << 10
	maxConnections      = 4096
	drainTimeout        = 10 * time.Second
)

// Config says what one server serves, and where.
type Config struct {
	// Name is used in errors and logs.
	Name string
	// Address is host:port as for net.Listen.
	Address string
	Handler http.Handler
	// GetCertificate makes it an HTTPS server, as in tls.Config; nil means plain
	// HTTP.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// MinTLSVersion is one of crypto/tls; 0 means TLS 1.2.
	MinTLSVersion uint16
	// WriteTimeout is how long an answer may take from the end of the request's
	// header, the handler's own time included; 0 means 10 seconds.
	WriteTimeout time.Duration
	// IdleTimeout is how long a connection may be idle after a request, and if it
	// is set, also before the first; 0 means 60 and 5 seconds. A server whose
	// clients repeat no failed request must be the more patient side: on a
	// connection that it closes a request may be under way, and clients keep
	// connections that they have not used yet.
	IdleTimeout time.Duration
	// Linger is how long the server goes on as before once it is told to stop,
	// so that load balancers notice first.
	Linger time.Duration
	Log    *slog.Logger
}

// Server is a listening server. Run or Close must be called, else the listener
// leaks.
type Server struct {
	config   Config
	listener net.Listener
	server   *http.Server
	stopping atomic.Bool // it was told to stop
}

// Listen opens the server's address. Connections wait until Run.
func Listen(ctx context.Context, config Config) (*Server, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", config.Address)
	if err != nil {
		return nil, fmt.Errorf("listening for %s on %q: %w", config.Name, config.Address, err)
	}
	return newServer(config, listener), nil
}

// ListenAll is Listen for each config that has an address. If one cannot be
// opened, none stays open.
func ListenAll(ctx context.Context, configs ...Config) ([]*Server, error) {
	var servers []*Server
	for _, config := range configs {
		if config.Address == "" {
			continue
		}
		server, err := Listen(ctx, config)
		if err != nil {
			for _, open := range servers {
				err = errors.Join(err, open.Close())
			}
			return nil, err
		}
		servers = append(servers, server)
	}
	return servers, nil
}

func newServer(config Config, listener net.Listener) *Server {
	server := &http.Server{
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      cmp.Or(config.WriteTimeout, defaultWriteTimeout),
		IdleTimeout:       cmp.Or(config.IdleTimeout, defaultIdleTimeout),
		MaxHeaderBytes:    maxHeaderBytes,
		// Handlers answer OPTIONS * too, and not net/http with 200 to anybody.
		DisableGeneralOptionsHandler: true,
		// Failed handshakes and the like: the client's trouble, not ours.
		ErrorLog: slog.NewLogLogger(config.Log.Handler(), slog.LevelDebug),
	}
	if config.GetCertificate != nil {
		server.TLSConfig = tlsConfig(config)
	}
	s := &Server{config: config, listener: netutil.LimitListener(listener, maxConnections), server: server}
	server.Handler = s.leaving(config.Handler)
	if config.IdleTimeout > 0 {
		// Both would count from when the connection was opened.
		server.ReadHeaderTimeout, server.ReadTimeout = config.IdleTimeout, 0
		server.Handler = boundedBody(server.Handler)
	}
	return s
}

// tlsConfig is what public relying parties speak: TLS 1.2 with forward secrecy
// and authenticated encryption only, or 1.3.
func tlsConfig(config Config) *tls.Config {
	return &tls.Config{
		MinVersion:     cmp.Or(config.MinTLSVersion, tls.VersionTLS12),
		GetCertificate: config.GetCertificate,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
}

// Address returns the address that the server listens on, with its real port.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Close closes the listener of a server that will not Run.
func (s *Server) Close() error {
	if err := s.listener.Close(); err != nil {
		return fmt.Errorf("closing %s on %q: %w", s.config.Name, s.config.Address, err)
	}
	return nil
}

// Run serves until ctx ends, lingers, lets requests under way finish for at
// most 10 seconds, and returns nil after a clean stop.
func (s *Server) Run(ctx context.Context) error {
	encrypted := s.config.GetCertificate != nil
	serving := make(chan error, 1)
	go func() {
		if encrypted {
			serving <- s.server.ServeTLS(s.listener, "", "")
		} else {
			serving <- s.server.Serve(s.listener)
		}
	}()
	s.config.Log.Info("serving", "server", s.config.Name, "address", s.Address(), "tls", encrypted)
	select {
	case err := <-serving:
		return fmt.Errorf("serving %s on %q: %w", s.config.Name, s.config.Address, err)
	case <-ctx.Done():
	}
	if err := s.stop(ctx, serving); err != nil {
		return fmt.Errorf("stopping %s on %q: %w", s.config.Name, s.config.Address, err)
	}
	return nil
}

// boundedBody gives the body of a request as long as ReadTimeout gives a whole
// request.
func boundedBody(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			// Every server of net/http can; at the end of the body it ends the deadline.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTimeout))
		}
		handler.ServeHTTP(w, r)
	})
}

// leaving tells clients to open another connection, to another server, from when
// this one is told to stop. At the end it closes what is idle, which a client
// that repeats no POST, as the API server, may be about to use.
func (s *Server) leaving(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.stopping.Load() {
			w.Header().Set("Connection", "close")
		}
		handler.ServeHTTP(w, r)
	})
}

func (s *Server) stop(ctx context.Context, serving <-chan error) error {
	s.stopping.Store(true)
	if s.config.Linger > 0 {
		s.config.Log.Info("stopping soon", "server", s.config.Name, "linger", s.config.Linger)
		select {
		case err := <-serving:
			return err
		case <-time.After(s.config.Linger):
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	err := s.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.server.Close())
	}
	if served := <-serving; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// Health answers /healthz, which depends on nothing, and /readyz, which
// depends on ready alone: nil means ready, the error is shown otherwise.
func Health(mux *http.ServeMux, ready func() error) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
}
