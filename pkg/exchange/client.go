package exchange

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Config is what a [Client] needs.
type Config struct {
	// Authority is the authority host, AZURE_AUTHORITY_HOST: an https URL. See
	// [Authority]. Required.
	Authority string
	// Endpoint is where requests really go, if not to the authority.
	Endpoint Endpoint
	// Assertions is the token file. Required.
	Assertions Assertions
	// Proxy chooses an HTTP proxy for a request, as in http.Transport; nil means
	// none, whatever the environment says.
	Proxy func(*http.Request) (*url.URL, error)
	// Transport replaces the client's own, Endpoint's CA and SNI name, and Proxy;
	// for tests. It must be safe for concurrent use.
	Transport http.RoundTripper
	// Log gets one line for each exchange, with its correlation ID. Required.
	Log *slog.Logger
}

// Limits of an exchange.
const (
	// Timeout bounds one exchange with all its attempts; a caller's own deadline
	// may come first.
	Timeout = 30 * time.Second
	// attemptTimeout bounds one request, from dialing to the last byte.
	attemptTimeout = 10 * time.Second
	maxAnswer      = 1 << 20
	maxAttempts    = 3
	// firstBackoff is the mean wait before the second attempt. Refused
	// connections are known to be so within 1.2 s: a caller that is told to come
	// back later is better off than one that waits.
	firstBackoff = 200 * time.Millisecond
	// longestWait is what an exchange waits because Entra says so; what takes
	// longer is the caller's to wait for.
	longestWait = time.Second
)

// Client exchanges the token at Entra's token endpoint: one request for one
// access token. It remembers nothing; see [Cached]. It is safe for concurrent
// use.
type Client struct {
	// All immutable.
	base       *url.URL // where requests go
	host       string   // whom they are for
	assertions Assertions
	http       *http.Client
	log        *slog.Logger
}

var _ Source = (*Client)(nil)

// New returns a client, or an error that names every fault of the config.
// Nothing is connected to; the CA file, if there is one, is read.
func New(config Config) (*Client, error) {
	authority, err := parseBase(config.Authority)
	if err != nil {
		err = fmt.Errorf("authority host: %w", err)
	}
	endpoint, endpointErr := config.Endpoint.parse()
	if endpointErr == nil && config.Transport == nil {
		config.Transport, endpointErr = newTransport(config)
	}
	if err := errors.Join(err, endpointErr); err != nil {
		return nil, err
	}
	client := &Client{
		base:       authority,
		host:       authority.Host,
		assertions: config.Assertions,
		log:        config.Log,
		http: &http.Client{
			Transport: config.Transport,
			// The assertion is for the authority and nobody else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if endpoint != nil {
		client.base = endpoint
	}
	return client, nil
}

// AccessToken makes one exchange. Outages are tried again, up to three times in
// all, as long as the context has time; so is a refusal of a token whose file
// has changed since. It takes [Timeout] at most. Errors are *[Error].
func (c *Client) AccessToken(ctx context.Context, request Request) (AccessToken, error) {
	if err := request.check(); err != nil {
		return AccessToken{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	correlation := newGUID()
	log := c.log.With("tenant", request.Tenant, "client_id", request.Client, "scope", loggable(request.Scope), "correlation_id", correlation)
	started := time.Now()
	for attempt := 1; ; attempt++ {
		assertion, err := c.assertions.Assertion(ctx)
		if err != nil {
			return AccessToken{}, err
		}
		token, fault := c.post(ctx, request, assertion, correlation)
		if fault == nil {
			log.Info("exchanged the token", "attempts", attempt, "took", time.Since(started), "expires", token.ExpiresAt)
			return token, nil
		}
		wait, again := c.again(ctx, fault, assertion, attempt)
		if !again {
			return AccessToken{}, fault
		}
		log.Warn("exchange did not succeed, trying again", "attempt", attempt, "wait", wait, "err", fault)
		if !sleep(ctx, wait) {
			return AccessToken{}, fault
		}
	}
}

// again decides whether to try once more, and when.
func (c *Client) again(ctx context.Context, fault *Error, sent Assertion, attempt int) (time.Duration, bool) {
	if attempt == maxAttempts || ctx.Err() != nil {
		return 0, false
	}
	switch fault.Kind {
	case Rejected:
		// What Entra says of a token that has been replaced says nothing of the new one.
		now, err := c.assertions.Assertion(ctx)
		return 0, err == nil && now.Fingerprint != sent.Fingerprint
	case Unavailable:
		if fault.RetryAfter > longestWait {
			return 0, false
		}
		wait := max(backoff(attempt), fault.RetryAfter)
		deadline, _ := ctx.Deadline()
		return wait, time.Until(deadline) > wait
	default:
		return 0, false
	}
}

// backoff doubles, with half of it to either side by chance, so that the pods
// of a cluster do not come back together.
func backoff(attempt int) time.Duration {
	mean := firstBackoff << (attempt - 1)
	return mean/2 + rand.N(mean)
}

// post makes one attempt.
func (c *Client) post(ctx context.Context, request Request, assertion Assertion, correlation string) (AccessToken, *Error) {
	bounded, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	sent := time.Now()
	response, err := c.http.Do(c.newRequest(bounded, request, assertion, correlation))
	if err != nil {
		return AccessToken{}, unreached(ctx, bounded, err, correlation)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return AccessToken{}, unreached(ctx, bounded, err, correlation)
	}
	a := answer{status: response.StatusCode, header: response.Header, body: body, received: time.Now()}
	if a.status != http.StatusOK {
		return AccessToken{}, a.fault(assertion, correlation)
	}
	return a.accessToken(sent, correlation)
}

// newRequest is a client credentials request with a federated assertion
// (Microsoft identity platform, "OAuth 2.0 client credentials flow", third
// case).
func (c *Client) newRequest(ctx context.Context, request Request, assertion Assertion, correlation string) *http.Request {
	form := url.Values{
		"grant_type":            {"client_credentials"},
		"client_id":             {request.Client},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {assertion.Token.Reveal()},
		"scope":                 {request.Scope},
	}.Encode()
	target := c.base.JoinPath(request.Tenant, "oauth2", "v2.0", "token")
	post := (&http.Request{
		Method:        http.MethodPost,
		URL:           target,
		Host:          c.host, // also at a custom endpoint, as azidentity sends it
		ContentLength: int64(len(form)),
		Body:          io.NopCloser(strings.NewReader(form)),
		GetBody:       func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(form)), nil },
		Header: http.Header{
			"Content-Type":             {"application/x-www-form-urlencoded"},
			"Accept":                   {"application/json"},
			"User-Agent":               {"issuer-sync"},
			"Client-Request-Id":        {correlation},
			"Return-Client-Request-Id": {"true"},
			// Not sent: it tells http.Transport that it may send the request again
			// if an idle connection turns out to be dead.
			"X-Idempotency-Key": nil,
		},
	}).WithContext(ctx)
	return post
}
