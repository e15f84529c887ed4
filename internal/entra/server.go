package entra

import (
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
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"time"
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
	listener net.Listener
	server   *http.Server
	ca       []byte
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
	certificate, ca, err := newCertificate(address.Addr(), where.Names)
	if err != nil {
		return nil, fmt.Errorf("making the certificate of the Entra stand-in: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", where.Address)
	if err != nil {
		return nil, fmt.Errorf("listening for the Entra stand-in on %q: %w", where.Address, err)
	}
	if config.URL == "" {
		config.URL = "https://" + listener.Addr().String()
	}
	standIn, err := New(config)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return &Server{
		StandIn:  standIn,
		listener: listener,
		ca:       ca,
		server: &http.Server{
			Handler:           standIn,
			TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}},
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      2 * time.Minute, // faults take their time
			IdleTimeout:       time.Minute,
			MaxHeaderBytes:    16 << 10,
			ErrorLog:          slog.NewLogLogger(config.Log.Handler(), slog.LevelDebug),
		},
	}, nil
}

// URL is where the stand-in is reached: the authority host.
func (s *Server) URL() string { return s.url }

// CA is the certificate to trust, in PEM.
func (s *Server) CA() []byte { return s.ca }

// Run serves until ctx ends, lets requests under way finish for at most 10
// seconds, and returns nil after a clean stop.
func (s *Server) Run(ctx context.Context) error {
	serving := make(chan error, 1)
	go func() { serving <- s.server.ServeTLS(s.listener, "", "") }()
	select {
	case err := <-serving:
		return fmt.Errorf("serving the Entra stand-in: %w", err)
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
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

// newCertificate makes a CA and a certificate of it for the address. The CA's
// private key is forgotten.
func newCertificate(address netip.Addr, names []string) (certificate tls.Certificate, ca []byte, err error) {
	authority := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "CA of " + standIn},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: standIn},
		NotBefore:    authority.NotBefore,
		NotAfter:     authority.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses:  []net.IP{address.AsSlice()},
		DNSNames:     names,
	}
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificate, nil, err
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificate, nil, err
	}
	authorityDER, err := x509.CreateCertificate(rand.Reader, authority, authority, authorityKey.Public(), authorityKey)
	if err != nil {
		return certificate, nil, err
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, authority, leafKey.Public(), authorityKey)
	if err != nil {
		return certificate, nil, err
	}
	certificate = tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: leafKey}
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authorityDER}), nil
}
