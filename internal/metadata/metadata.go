// Package metadata answers as Azure's instance metadata service (IMDS) does
// when it is asked for the access token of a managed identity, so that a
// program that knows no other way gets one through pkg/exchange.
//
// Two paths are served, exactly as they are written: nothing is cleaned,
// decoded, redirected or passed on to another service. Who may ask is not
// known; a request must show that it was made by a program here and not by a
// browser, or by a server that fetches what it is told to.
package metadata

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

// The paths that are served. The first component of TokenPath is taken in any
// case, and one slash may follow it: @azure/identity adds one.
const (
	TokenPath = "/metadata/identity/oauth2/token"
	ReadyPath = "/readyz"
)

// Source is where access tokens come from. It must be safe for concurrent use,
// and return soon after ctx ends. An access token is printable ASCII. Errors are
// *[exchange.Error]; others are taken for an outage.
type Source interface {
	AccessToken(ctx context.Context, request exchange.Request) (exchange.AccessToken, error)
}

// Config is what a Handler works with.
type Config struct {
	// Source is asked for each answer, and so should remember. Required.
	Source Source
	// TenantID is the directory of all identities. Required.
	TenantID string
	// ClientID is the identity of requests that name none; if it is empty, each
	// must name one.
	ClientID string
	// AllowedClientIDs are those that requests may name, beside ClientID; if it is
	// empty, any.
	AllowedClientIDs []string
	// Log gets one line for each request: at Warn if there was no access token to
	// be had, at Debug for probes of readiness, at Info otherwise. Required.
	Log *slog.Logger
}

// Handler serves [TokenPath] and [ReadyPath], and nothing else. It is safe for
// concurrent use.
type Handler struct {
	config  Config          // immutable
	allowed map[string]bool // client IDs in lower case; nil means any; immutable
	header  http.Header     // of every answer in JSON; immutable
	buffers sync.Pool       // of *[]byte
}

// New returns a handler, or an error that names every fault of the config.
func New(config Config) (*Handler, error) {
	h := &Handler{
		config: config,
		header: http.Header{
			"Content-Type":  {"application/json"},
			"Cache-Control": {"no-store"}, // RFC 6749 section 5.1
		},
		buffers: sync.Pool{New: func() any { return new([]byte) }},
	}
	var faults []error
	faults = append(faults, exchange.CheckTenant(config.TenantID))
	if config.ClientID != "" {
		faults = append(faults, exchange.CheckClient(config.ClientID))
	}
	if len(config.AllowedClientIDs) > 0 {
		h.allowed = map[string]bool{strings.ToLower(config.ClientID): true}
	}
	for _, id := range config.AllowedClientIDs {
		if err := exchange.CheckClient(id); err != nil {
			faults = append(faults, fmt.Errorf("allowed %w", err))
		}
		h.allowed[strings.ToLower(id)] = true
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return h, nil
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	came := time.Now()
	var (
		asked question
		token exchange.AccessToken
	)
	path, err := target(r)
	if err == nil && path == ReadyPath {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, "ok")
		h.report(r, answer{status: http.StatusOK, level: slog.LevelDebug}, asked, time.Since(came))
		return
	}
	if err == nil {
		asked, err = h.read(r)
	}
	if err == nil {
		token, err = h.obtain(r.Context(), asked)
	}
	// One reading of the clock, so that the numbers of an answer agree.
	now := time.Now()
	a := judge(err)
	buffer := h.buffers.Get().(*[]byte)
	defer h.buffers.Put(buffer)
	if err == nil {
		*buffer = appendToken((*buffer)[:0], asked, token, now)
	} else {
		*buffer = a.appendError((*buffer)[:0])
	}
	a.write(w, h.header, *buffer)
	h.report(r, a, asked, now.Sub(came))
}

// obtain asks the source. A panic there is an error: what net/http would log of
// it might hold a token.
func (h *Handler) obtain(ctx context.Context, asked question) (token exchange.AccessToken, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = newPanic(v)
		}
	}()
	return h.config.Source.AccessToken(ctx, exchange.Request{
		Tenant: h.config.TenantID,
		Client: asked.client,
		Scope:  exchange.Scope(asked.resource),
	})
}

// report logs the request, without its query and headers.
func (h *Handler) report(r *http.Request, a answer, asked question, took time.Duration) {
	if !h.config.Log.Enabled(r.Context(), a.level) {
		return
	}
	attrs := append(make([]slog.Attr, 0, 8), // on the stack; a record has room for five
		slog.String("method", short(r.Method)), slog.String("path", loggable(pathOf(r))),
		slog.Int("status", a.status), slog.Duration("duration", took))
	if asked.client != "" {
		attrs = append(attrs, slog.String("client_id", asked.client))
	}
	if a.reason != "" {
		attrs = append(attrs, slog.String("reason", a.reason))
	}
	if a.detail != "" {
		attrs = append(attrs, slog.String("err", a.detail))
	}
	h.config.Log.LogAttrs(r.Context(), a.level, "answered", attrs...)
}

// loggable is a path that is served, or a word for all others: they are whatever
// a caller wrote.
func loggable(path string) string {
	if path == ReadyPath || isTokenPath(path) {
		return path
	}
	return "other"
}

// short cuts what a caller wrote.
func short(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
