package entra

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/httpserver"
	"github.com/issuer-sync/issuer-sync/internal/selfcert"
)

// ListenConfig says where a [Server] listens.
type ListenConfig struct {
	// Address is IP:port; on loopback, unless Anywhere is set.
	Address string
	// Anywhere allows other addresses, ":port" among them. Nothing but this keeps
	// a stand-in that grants everything from being reached by others.
	Anywhere bool
	// Names are further DNS names of the certificate that is made.
	Names []string
	// GetCertificate is as in tls.Config. If it is nil, a certificate is made,
	// with a CA of its own.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

// Validate returns an error unless the address is one to listen on.
func (c ListenConfig) Validate() error {
	_, err := c.addr()
	return err
}

// addr is the IP address to listen on.
func (c ListenConfig) addr() (netip.Addr, error) {
	written := c.Address
	if strings.HasPrefix(written, ":") { // every address, as package net has it
		written = "[::]" + written
	}
	address, err := netip.ParseAddrPort(written)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("address of the Entra stand-in %q: want IP:port, such as 127.0.0.1:0", c.Address)
	}
	if !c.Anywhere && !address.Addr().Unmap().IsLoopback() {
		return netip.Addr{}, fmt.Errorf("address of the Entra stand-in %q: want loopback, such as 127.0.0.1:0", c.Address)
	}
	return address.Addr(), nil
}

// Server is a stand-in that listens, over HTTPS. Run must be called, else the
// listener leaks.
type Server struct {
	*StandIn
	server *httpserver.Server
	ca     []byte
}

// Listen opens the address. Connections wait until Run.
func Listen(ctx context.Context, where ListenConfig, config Config) (*Server, error) {
	address, err := where.addr()
	if err != nil {
		return nil, err
	}
	s := new(Server)
	if where.GetCertificate == nil {
		if where.GetCertificate, s.ca, err = makeCertificate(address, where.Names); err != nil {
			return nil, err
		}
	}
	s.server, err = httpserver.Listen(ctx, httpserver.Config{
		Name: "the Entra stand-in", Address: where.Address, Handler: s, Log: config.Log,
		GetCertificate: where.GetCertificate,
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

func makeCertificate(address netip.Addr, names []string) (get func(*tls.ClientHelloInfo) (*tls.Certificate, error), ca []byte, err error) {
	now := time.Now()
	certificate, err := selfcert.New(selfcert.Spec{
		Name: standIn, CAName: "CA of " + standIn,
		DNSNames: names, Addresses: []netip.Addr{address},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("making the certificate of the Entra stand-in: %w", err)
	}
	return certificate.Get, certificate.CA, nil
}

// URL is where the stand-in is reached: the authority host.
func (s *Server) URL() string { return s.url }

// Address is IP:port that it listens on, with its real port.
func (s *Server) Address() string { return s.server.Address() }

// CA is the certificate to trust, in PEM; nil if the server was given its own.
func (s *Server) CA() []byte { return s.ca }

// Run serves until ctx ends, lets requests under way finish for at most 10
// seconds, and returns nil after a clean stop.
func (s *Server) Run(ctx context.Context) error { return s.server.Run(ctx) }
