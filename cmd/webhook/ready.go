package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// selfCallTimeout bounds the call to oneself. It is less than the 3 s that the
// manifests have kubelet give a probe, so that the probe tells what is wrong.
const selfCallTimeout = 2 * time.Second

// ready returns nil if a review that comes now would be answered: the
// ServiceAccounts are read, and a call as an API server makes it arrives here.
func (s *service) ready() error {
	address := s.listening.Load()
	if address == nil {
		if reason := s.unanswered.Load(); reason != nil {
			return fmt.Errorf("it does not listen yet: %w", *reason)
		}
		return errors.New("it does not listen yet")
	}
	if err := errors.Join(s.accounts.Ready(), s.certificate.ready()); err != nil {
		return err
	}
	if err := s.callOneself(*address); err != nil {
		return fmt.Errorf("calling itself: %w", err)
	}
	return nil
}

// callOneself makes a TLS connection through the certificate that is served, by
// the name that API servers call. It asks beside admission.Path: what comes there
// and is no review would be counted as an error.
func (s *service) callOneself(address string) error {
	roots, err := s.certificate.roots()
	if err != nil {
		return err
	}
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: s.config.dnsNames()[0], MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true, // the next call is to see the certificate of then
	}
	ctx, cancel := context.WithTimeout(context.Background(), selfCallTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+reachable(address)+"/", nil)
	if err != nil {
		return err
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

// reachable returns an address to call for one that is listened on, which may
// stand for all addresses of the machine.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("localhost", port)
	}
	return address
}
