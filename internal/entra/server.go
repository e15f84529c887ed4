package entra

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/httpserver"
	"github.com/issuer-sync/issuer-sync/internal/selfcert"
)

// ListenConfig says where a [Server] listens.
type ListenConfig struct {
	// Address is IP:port; on loopback, unless Anywhere is set.
	Address string
	// Anywhere allows other addresses. Nothing but this keeps a stand-in that
	// grants everything from being reached by others.
	Anywhere bool
	// Names are further DNS names of the certificate.
	Names []string
}

// Server is a stand-in that listens, over HTTPS, with a certificate of a CA that
// was made for it. Run must be called, else the listener leaks.
type Server struct {
	*StandIn
	server *httpserver.Server
	ca     []byte
}

// Listen opens the address. Connections wait until Run.
func Listen(ctx context.Context, where ListenConfig, config Config) (*Server, error) {
	address, err := netip.ParseAddrPort(where.Address)
	if err != nil {
		return nil, fmt.Errorf("address of the Entra stand-in %q: want IP:port, such as 127.0.0.1:0", where.Address)
	}
	if !where.Anywhere && !address.Addr().Unmap().IsLoopback() {
		return nil, fmt.Errorf("address of the Entra stand-in %q: want loopback, such as 127.0.0.1:0", where.Address)
	}
	now := time.Now()
	certificate, err := selfcert.New(selfcert.Spec{
		Name: standIn, CAName: "CA of " + standIn,
		DNSNames: where.Names, Addresses: []netip.Addr{address.Addr()},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
	})
	if err != nil {
		return nil, fmt.Errorf("making the certificate of the Entra stand-in: %w", err)
	}
	s := &Server{ca: certificate.CA}
	s.server, err = httpserver.Listen(ctx, httpserver.Config{
		Name: "the Entra stand-in", Address: where.Address, Handler: s, Log: config.Log,
		GetCertificate: certificate.Get,
		WriteTimeout:   2 * time.Minute, // faults take their time
	})
	if err != nil {
		return nil, err
	}
	if config.URL == "" {
		config.URL = "https://" + s.server.Address()
	}
	if s.StandIn, err = New(config); err != nil {
		return nil, errors.Join(err, s.server.Close())
	}
	return s, nil
}

// URL is where the stand-in is reached: the authority host.
func (s *Server) URL() string { return s.url }

// CA is the certificate to trust, in PEM.
func (s *Server) CA() []byte { return s.ca }

// Run serves until ctx ends, lets requests under way finish for at most 10
// seconds, and returns nil after a clean stop.
func (s *Server) Run(ctx context.Context) error { return s.server.Run(ctx) }
