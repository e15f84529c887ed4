package oidc

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/gorilla/mux"
)

// Handler serves the documents of its issuers, each under the issuer's own
// path and nowhere else: GET and HEAD, conditional requests, no redirects. The
// host a client asks for changes nothing. It is safe for concurrent use.
type Handler struct {
	// Both are immutable.
	router *mux.Router
	slots  map[Issuer]*slot
}

// slot holds what is served for one issuer; nil until Set was called.
type slot struct {
	current atomic.Pointer[answers]
}

type answers struct {
	jwks, discovery answer
}

// NewHandler returns a handler for the issuers, which answers 503 for each
// until [Handler.Set] is called for it. Issuers that differ only in their host
// would answer for each other and are refused.
func NewHandler(issuers ...Issuer) (*Handler, error) {
	// Neither cleaned nor decoded: a path is served exactly as the issuer spells it, or not at all.
	h := &Handler{router: mux.NewRouter().SkipClean(true), slots: make(map[Issuer]*slot)}
	byPath := make(map[string]Issuer)
	for _, issuer := range issuers {
		path := issuer.Path(DiscoveryPath)
		if other, taken := byPath[path]; taken {
			return nil, fmt.Errorf("issuers %q and %q have the same path %q: one server cannot tell them apart", other, issuer, path)
		}
		byPath[path] = issuer
		s := new(slot)
		h.slots[issuer] = s
		// Routes are tried in turn; relying parties come back for the keys.
		h.router.MatcherFunc(exactly(issuer.Path(JWKSPath))).Handler(s.serve(func(a *answers) *answer { return &a.jwks }))
		h.router.MatcherFunc(exactly(path)).Handler(s.serve(func(a *answers) *answer { return &a.discovery }))
	}
	return h, nil
}

// exactly matches one path as it is escaped in the request: what mux's path
// templates with UseEncodedPath do, without their regular expressions
// (docs/decisions/0003-exact-routes.md).
func exactly(path string) mux.MatcherFunc {
	return func(r *http.Request, _ *mux.RouteMatch) bool { return r.URL.EscapedPath() == path }
}

// Set replaces both documents of an issuer at once. Documents of an issuer
// that the handler was not made for are not served.
func (h *Handler) Set(documents Documents) {
	if s, ok := h.slots[documents.Issuer]; ok {
		s.current.Store(&answers{jwks: newAnswer(documents.JWKS), discovery: newAnswer(documents.Discovery)})
	}
}

// ServeHTTP implements http.Handler. It asks the router for the route alone.
// The router's own ServeHTTP, the only place where it would clean if SkipClean
// did not forbid it, also copies the request twice to keep path variables,
// which no route here has. That is most of the cost of an answer:
// BenchmarkHandler has both.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var match mux.RouteMatch
	if !h.router.Match(r, &match) {
		refuse(w, http.StatusNotFound, "no document here")
		return
	}
	match.Handler.ServeHTTP(w, r)
}

// serve answers with one of the two documents.
func (s *slot) serve(document func(*answers) *answer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		current := s.current.Load()
		if current == nil {
			w.Header().Set("Retry-After", "1")
			refuse(w, http.StatusServiceUnavailable, "documents are not loaded yet")
			return
		}
		document(current).serve(w, r)
	}
}

// refuse answers without a word of the request, and so that no cache keeps it.
func refuse(w http.ResponseWriter, status int, reason string) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, reason, status)
}

// answer is one document with its header values, made once so that serving
// allocates nothing.
type answer struct {
	body []byte
	etag string
	// header holds what 304 repeats (RFC 9110 section 15.4.5), bodyHeader what
	// goes with a body only.
	header, bodyHeader []field
}

type field struct {
	name  string // canonical
	value []string
}

func newAnswer(object Object) answer {
	sum := sha256.Sum256(object.Body)
	// A strong validator (RFC 9110 section 8.8.3) from the content alone, hence equal on every replica.
	etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:]) + `"`
	return answer{
		body: object.Body,
		etag: etag,
		header: []field{
			{"Cache-Control", []string{object.CacheControl}},
			{"Etag", []string{etag}},
			{"Access-Control-Allow-Origin", []string{"*"}},
		},
		bodyHeader: []field{
			{"Content-Type", []string{object.ContentType}},
			{"Content-Length", []string{strconv.Itoa(len(object.Body))}},
		},
	}
}

func (a *answer) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "use GET or HEAD")
		return
	}
	header := w.Header()
	for _, field := range a.header {
		header[field.name] = field.value
	}
	if matches(r.Header["If-None-Match"], a.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	for _, field := range a.bodyHeader {
		header[field.name] = field.value
	}
	if r.Method == http.MethodGet {
		w.Write(a.body) //nolint:errcheck // the client is gone; net/http closes the connection
	}
}

// matches implements If-None-Match with its weak comparison (RFC 9110 sections
// 13.1.2 and 8.8.3.2). Ours are free of commas, so splitting at commas finds them.
func matches(values []string, etag string) bool {
	for _, value := range values {
		for tag := range strings.SplitSeq(value, ",") {
			tag = strings.TrimSpace(tag)
			if tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
				return true
			}
		}
	}
	return false
}
