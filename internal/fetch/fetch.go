// Package fetch reads key sets and discovery documents over HTTP: one request,
// bounded in time and size, no redirects.
//
// It chooses neither credentials nor trust: both belong to the transport that
// the caller gives.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4/json" // refuses duplicate members and compares names exactly

	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// Timeout bounds one request, from dialing to the last byte of the answer.
const Timeout = 10 * time.Second

// JWKSType is the media type of a JWK set (RFC 7517 section 8.5.2).
const JWKSType = "application/jwk-set+json"

// StatusError says that a server answered with another status than 200.
type StatusError struct {
	// Code is the HTTP status.
	Code int
}

// Error implements error.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("answered %d %s; want 200 OK", e.Code, http.StatusText(e.Code))
	if e.Code >= 300 && e.Code < 400 {
		text += ", redirects are not followed"
	}
	return text
}

// Get returns the body of the answer to a GET request, which must have status
// 200 and at most keys.MaxInputSize bytes. It takes [Timeout] at most.
// Redirects are not followed. Errors hold neither the URL, whose query may be
// a secret, nor anything of the body; a *[StatusError] tells another status.
func Get(ctx context.Context, transport http.RoundTripper, address, accept string) ([]byte, error) {
	bounded, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	body, err := get(bounded, transport, address, accept)
	if err != nil && ctx.Err() == nil && bounded.Err() != nil {
		return nil, fmt.Errorf("no complete answer within %v: %w", Timeout, err)
	}
	return body, err
}

func get(ctx context.Context, transport http.RoundTripper, address, accept string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, withoutURL(err)
	}
	request.Header.Set("Accept", accept)
	request.Header.Set("User-Agent", "issuer-sync")
	client := http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, &StatusError{Code: response.StatusCode}
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, keys.MaxInputSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if len(body) > keys.MaxInputSize {
		return nil, &keys.Error{Rule: keys.RuleTooLarge, Detail: fmt.Sprintf("an answer of more than %d bytes", keys.MaxInputSize)}
	}
	return body, nil
}

// withoutURL is err without the URL that net/http and net/url put in front.
func withoutURL(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}

// Keys observes the JWK set at an address. The origin names the address in the
// observation and in its errors.
func Keys(ctx context.Context, transport http.RoundTripper, origin, address string) keys.Observation {
	body, err := Get(ctx, transport, address, JWKSType+", application/json;q=0.9")
	if err != nil {
		return keys.Observation{Origin: origin, Err: fmt.Errorf("%s: reading the key set: %w", origin, err)}
	}
	set, skipped, err := keys.ParseJWKS(origin, body)
	return keys.Observation{Origin: origin, Keys: set, Skipped: skipped, Err: err}
}

// Document is what matters here of a discovery document (OpenID Connect
// Discovery 1.0 section 3). Members that the document lacks are empty.
type Document struct {
	Issuer  string `json:"issuer"`
	JWKSURI string `json:"jwks_uri"`
}

// Discovery reads the discovery document at an address.
func Discovery(ctx context.Context, transport http.RoundTripper, address string) (Document, error) {
	body, err := Get(ctx, transport, address, "application/json")
	if err != nil {
		return Document{}, fmt.Errorf("reading the discovery document: %w", err)
	}
	var document Document
	if err := json.Unmarshal(body, &document); err != nil {
		return Document{}, fmt.Errorf("parsing the discovery document: %w", err)
	}
	return document, nil
}
