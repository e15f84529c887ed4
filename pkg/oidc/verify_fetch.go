package oidc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// fetchTimeout bounds one request from the lookup of the host to the last
// byte, in keeping with the other clients of this project.
const fetchTimeout = 10 * time.Second

// fetched is what one request brought. The zero value is a request that was
// not made.
type fetched struct {
	url    string
	accept []string // the media types that relying parties expect, the best first
	err    error    // nil if there is a whole answer
	// handshake is the part of err that the TLS handshake contributed; the host was reachable then.
	handshake error
	status    int
	header    http.Header
	body      []byte // cut off one byte after the limit
	tls       *tls.ConnectionState
	public    bool // the certificate chain is one that clouds trust
	privateCA bool // trusted through VerifyOptions.Roots
	elapsed   time.Duration
	received  time.Time
}

// usable reports whether there is a document to read.
func (f fetched) usable() bool { return f.url != "" && f.err == nil && f.status == http.StatusOK }

func (f fetched) object(path string) Object {
	return Object{Path: path, Body: f.body, ContentType: f.header.Get("Content-Type"), CacheControl: f.header.Get("Cache-Control")}
}

type fetcher struct {
	client  *http.Client
	options VerifyOptions
}

func newFetcher(options VerifyOptions) fetcher {
	roots := options.Roots
	if roots == nil {
		roots = options.PublicRoots
	}
	dial, through := options.Dial, (func(*http.Request) (*url.URL, error))(nil)
	if dial == nil {
		dial, through = (&net.Dialer{}).DialContext, Proxy
	}
	return fetcher{options: options, client: &http.Client{
		Transport: &http.Transport{
			Proxy:           through,
			DialContext:     dial,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, Time: options.Now},
			// Like a cloud's first request: a connection of its own, and the bytes as they are stored.
			DisableKeepAlives:  true,
			DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Proxy is for http.Transport: the environment's proxy, except that link-local
// addresses, where clouds keep their metadata services, are never asked through
// one, nor is one told of them.
func Proxy(r *http.Request) (*url.URL, error) {
	if address, err := netip.ParseAddr(r.URL.Hostname()); err == nil && address.Unmap().IsLinkLocalUnicast() {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}

// get makes one anonymous request. It never follows what the answer says.
func (f fetcher) get(ctx context.Context, address string, accept ...string) fetched {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	handshake := make(chan error, 1)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// Called by the connection's goroutine, which may outlive a request that timed out.
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			select {
			case handshake <- err:
			default:
			}
		},
	})
	answer := fetched{url: address, accept: accept, privateCA: f.options.Roots != nil}
	start := f.options.Now()
	response, err := f.ask(ctx, address, accept)
	if err == nil {
		answer.status, answer.header, answer.tls = response.StatusCode, response.Header, response.TLS
		answer.received = f.options.Now()
		answer.body, err = io.ReadAll(io.LimitReader(response.Body, keys.MaxInputSize+1))
		response.Body.Close() //nolint:errcheck // everything wanted was read
		answer.public = f.publiclyTrusted(response.TLS)
	}
	answer.err, answer.elapsed = err, f.options.Now().Sub(start)
	select {
	case answer.handshake = <-handshake:
	default:
	}
	return answer
}

func (f fetcher) ask(ctx context.Context, address string, accept []string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, cause(err)
	}
	request.URL.User = nil // net/http would make a password of it
	request.Header.Set("Accept", strings.Join(accept, ", "))
	request.Header.Set("User-Agent", "issuer-sync")
	response, err := f.client.Do(request)
	if err != nil {
		return nil, cause(err)
	}
	return response, nil
}

// cause strips the method and the URL that net/http puts before an error.
func cause(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}

// publiclyTrusted reports whether a cloud would accept the certificates that
// the server sent, and that are known to be for its host.
func (f fetcher) publiclyTrusted(state *tls.ConnectionState) bool {
	if state == nil || len(state.PeerCertificates) == 0 {
		return false
	}
	intermediates := x509.NewCertPool()
	for _, certificate := range state.PeerCertificates[1:] {
		intermediates.AddCert(certificate)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots:         f.options.PublicRoots,
		Intermediates: intermediates,
		CurrentTime:   f.options.Now(),
	})
	return err == nil
}

// resolved is the outcome of one lookup.
type resolved struct {
	host      string
	addresses []netip.Addr
	err       error
}

// resolve looks up the distinct hosts of the given URLs.
func resolve(ctx context.Context, options VerifyOptions, urls ...string) []resolved {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	lookup := options.Lookup
	if lookup == nil {
		lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	var hosts []resolved
	seen := make(map[string]bool)
	for _, u := range urls {
		host := hostname(u)
		if host == "" || seen[host] {
			continue
		}
		seen[host] = true
		found := resolved{host: host}
		var addresses []netip.Addr
		addresses, found.err = lookup(ctx, host)
		for _, address := range addresses {
			found.addresses = append(found.addresses, address.Unmap()) // the resolver gives IPv4 as ::ffff:127.0.0.1
		}
		hosts = append(hosts, found)
	}
	return hosts
}

// shown returns what a report may say of a URL: a user or a query may be a
// credential.
func shown(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "no URL"
	}
	return u.Scheme + "://" + u.Host + u.EscapedPath()
}

// hostname returns the host of a URL without port, in lower case; empty if
// there is none.
func hostname(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}
