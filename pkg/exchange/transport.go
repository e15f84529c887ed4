package exchange

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Endpoint is a token endpoint that stands before the authority and gets its
// requests, as AKS has one: the settings of AZURE_KUBERNETES_TOKEN_PROXY and
// those with it. The zero Endpoint means the authority itself.
type Endpoint struct {
	// URL is an https URL; the path of the request is appended to its path.
	URL string
	// CAFile names PEM certificates to trust instead of the system's. The file is
	// looked at before each exchange, so it may be replaced.
	CAFile string
	// CAData is PEM certificates to trust instead of the system's.
	CAData string
	// SNIName is the name that the endpoint's certificate must have, and that is
	// sent in the handshake; the URL's host if empty.
	SNIName string
}

// parse returns the URL, or nil if there is none.
func (e Endpoint) parse() (*url.URL, error) {
	if e.URL == "" {
		if e != (Endpoint{}) {
			return nil, errors.New("custom token endpoint: a CA or an SNI name is set, but no URL")
		}
		return nil, nil
	}
	if e.CAFile != "" && e.CAData != "" {
		return nil, errors.New("custom token endpoint: CA file and CA data are both set; want one")
	}
	base, err := parseBase(e.URL)
	if err != nil {
		return nil, fmt.Errorf("custom token endpoint: %w", err)
	}
	return base, nil
}

// newTransport returns the transport for a config: connections and TLS sessions
// are kept, so that an exchange is one round trip.
func newTransport(config Config) (http.RoundTripper, error) {
	e := config.Endpoint
	build := func(roots *x509.CertPool) *http.Transport {
		return &http.Transport{
			Proxy:       config.Proxy,
			DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			// Without NextProtos and ForceAttemptHTTP2: HTTP/1.1, where a dead
			// connection fails one exchange and not all that share it.
			TLSClientConfig: &tls.Config{
				MinVersion:         tls.VersionTLS12,
				RootCAs:            roots,
				ServerName:         e.SNIName,
				ClientSessionCache: tls.NewLRUClientSessionCache(8),
			},
			TLSHandshakeTimeout:    5 * time.Second,
			MaxIdleConnsPerHost:    4,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true, // access tokens do not compress
			OnProxyConnectResponse: checkProxy,
		}
	}
	switch {
	case e.CAData != "":
		roots, err := parseCA([]byte(e.CAData))
		if err != nil {
			return nil, fmt.Errorf("CA data of the custom token endpoint: %w", err)
		}
		return build(roots), nil
	case e.CAFile != "":
		t := &reloading{file: e.CAFile, build: build, log: config.Log}
		_, err := t.transport()
		return t, err
	default:
		return build(nil), nil
	}
}

// proxyAnswer is the HTTP status of a proxy that does not open a tunnel.
type proxyAnswer int

// Error implements error.
func (p proxyAnswer) Error() string {
	return fmt.Sprintf("the HTTP proxy answered %d to CONNECT", int(p))
}

// checkProxy returns a proxyAnswer unless the tunnel is open: the error of
// http.Transport is the proxy's own text.
func checkProxy(_ context.Context, _ *url.URL, _ *http.Request, response *http.Response) error {
	if response.StatusCode != http.StatusOK {
		return proxyAnswer(response.StatusCode)
	}
	return nil
}

func parseCA(data []byte) (*x509.CertPool, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		return nil, errors.New("no certificate in PEM")
	}
	return roots, nil
}

// maxCA holds hundreds of certificates.
const maxCA = 1 << 20

// reloading trusts the certificates that its file has now. While the file is
// empty or unreadable, as in the middle of a replacement, it trusts those that
// it had.
type reloading struct {
	file  string
	build func(*x509.CertPool) *http.Transport
	log   *slog.Logger

	mu      sync.Mutex // guards what follows
	seen    []byte
	current *http.Transport
}

// RoundTrip implements http.RoundTripper.
func (t *reloading) RoundTrip(request *http.Request) (*http.Response, error) {
	current, err := t.transport()
	if err != nil {
		return nil, err
	}
	return current.RoundTrip(request)
}

// transport fails only as long as there never was a CA, hence not after New.
func (t *reloading) transport() (*http.Transport, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	data, err := readRegular(t.file, maxCA)
	if err == nil && t.current != nil && bytes.Equal(data, t.seen) {
		return t.current, nil
	}
	var roots *x509.CertPool
	if err == nil {
		roots, err = parseCA(data)
	}
	switch {
	case err == nil:
		if t.current != nil {
			t.current.CloseIdleConnections()
			t.log.Info("loaded a new CA", "ca_file", t.file)
		}
		t.current, t.seen = t.build(roots), data
	case t.current == nil:
		return nil, fmt.Errorf("reading CA file %q of the custom token endpoint: %w", t.file, err)
	default:
		t.log.Warn("kept the old CA", "ca_file", t.file, "err", err)
	}
	return t.current, nil
}
