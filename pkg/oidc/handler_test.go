package oidc_test

import (
	"bufio"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

func handler(t testing.TB, documents ...oidc.Documents) *oidc.Handler {
	t.Helper()
	var issuers []oidc.Issuer
	for _, d := range documents {
		issuers = append(issuers, d.Issuer)
	}
	h, err := oidc.NewHandler(issuers...)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range documents {
		h.Set(d)
	}
	return h
}

// exchange sends raw bytes over a socket, as clients that are not Go's do, and
// returns the answer; no client library cleans the request on the way.
func exchange(t *testing.T, server *httptest.Server, raw string) reply {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String()) //nolint:noctx // a test's own loopback server
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(raw, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	return reply{response.StatusCode, response.Header, body}
}

type reply struct {
	status int
	header http.Header
	body   []byte
}

func TestHandlerServes(t *testing.T) {
	documents := render(t, issuer(t, "https://x.test/a%2Fb/"), keytest.Set(t, 1))
	server := httptest.NewServer(handler(t, documents))
	defer server.Close()
	const path = "/a%2Fb/openid/v1/jwks"
	etag := exchange(t, server, "HEAD "+path+" HTTP/1.1\r\nHost: x\r\n\r\n").header.Get("Etag")
	if len(etag) < 20 || !strings.HasPrefix(etag, `"`) {
		t.Fatalf("ETag %q is not a strong content hash", etag)
	}

	for _, test := range []struct {
		name, request string // without the blank line
		status        int
		body          []byte
		headers       string // "Name: value" lines that must be there
		absent        string // names that must not
	}{
		{
			name: "JWKS", request: "GET " + path + " HTTP/1.1\r\nHost: x.test", status: 200, body: documents.JWKS.Body,
			headers: "Content-Type: application/jwk-set+json\nCache-Control: public, max-age=300\nAccess-Control-Allow-Origin: *\nEtag: " + etag,
		},
		{
			name: "discovery", request: "GET /a%2Fb/.well-known/openid-configuration HTTP/1.1\r\nHost: x.test", status: 200, body: documents.Discovery.Body,
			headers: "Content-Type: application/json",
		},
		{name: "a hostile host changes nothing", request: "GET /a%2Fb/.well-known/openid-configuration HTTP/1.1\r\nHost: evil.test\r\nX-Forwarded-Host: evil.test\r\nForwarded: host=evil.test", status: 200, body: documents.Discovery.Body},
		{name: "absolute form", request: "GET http://evil.test/a%2Fb/openid/v1/jwks HTTP/1.1\r\nHost: evil.test", status: 200, body: documents.JWKS.Body},
		{name: "a query is passed over", request: "GET " + path + "?x=y HTTP/1.1\r\nHost: x", status: 200, body: documents.JWKS.Body},
		{name: "HEAD has no body", request: "HEAD " + path + " HTTP/1.1\r\nHost: x", status: 200, headers: "Etag: " + etag + "\nContent-Type: application/jwk-set+json"},
		{
			name: "unchanged", request: "GET " + path + " HTTP/1.1\r\nHost: x\r\nIf-None-Match: " + etag, status: 304,
			headers: "Etag: " + etag + "\nCache-Control: public, max-age=300", absent: "Content-Type Content-Length",
		},
		{name: "unchanged in a list, weak", request: "GET " + path + " HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"a\", W/" + etag, status: 304},
		{name: "unchanged in a second line", request: "GET " + path + " HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"a\"\r\nIf-None-Match: " + etag, status: 304},
		{name: "unchanged whatever it is", request: "HEAD " + path + " HTTP/1.1\r\nHost: x\r\nIf-None-Match: *", status: 304},
		{name: "changed", request: "GET " + path + " HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"a\"", status: 200, body: documents.JWKS.Body},
		{name: "POST", request: "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 0", status: 405, headers: "Allow: GET, HEAD", body: []byte("use GET or HEAD\n")},
		{name: "OPTIONS", request: "OPTIONS " + path + " HTTP/1.1\r\nHost: x", status: 405, headers: "Allow: GET, HEAD", body: []byte("use GET or HEAD\n")},
		{name: "an unknown path", request: "GET /secret<script> HTTP/1.1\r\nHost: x", status: 404, body: []byte("no document here\n"), headers: "Cache-Control: no-store"},
		{name: "the root", request: "GET / HTTP/1.1\r\nHost: x", status: 404, body: []byte("no document here\n")},
		{name: "a trailing slash", request: "GET " + path + "/ HTTP/1.1\r\nHost: x", status: 404, body: []byte("no document here\n"), absent: "Location"},
		{name: "a doubled slash", request: "GET /" + path + " HTTP/1.1\r\nHost: x", status: 404, body: []byte("no document here\n"), absent: "Location"},
		{name: "a decoded slash", request: "GET /a/b/openid/v1/jwks HTTP/1.1\r\nHost: x", status: 404, body: []byte("no document here\n")},
		{name: "an encoded slash", request: "GET /a%2Fb/openid%2Fv1/jwks HTTP/1.1\r\nHost: x", status: 404, body: []byte("no document here\n")},
		{name: "a dot segment", request: "GET /c/../a%2Fb/openid/v1/jwks HTTP/1.1\r\nHost: x", status: 404, body: []byte("no document here\n"), absent: "Location"},
		{name: "a NUL", request: "GET " + path + "%00 HTTP/1.1\r\nHost: x", status: 404, body: []byte("no document here\n")},
		{name: "another case", request: "GET /a%2fb/openid/v1/jwks HTTP/1.1\r\nHost: x", status: 404, body: []byte("no document here\n")},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := exchange(t, server, test.request+"\r\n\r\n")
			if got.status != test.status || string(got.body) != string(test.body) {
				t.Errorf("%d %q; want %d %q", got.status, got.body, test.status, test.body)
			}
			for line := range strings.SplitSeq(test.headers, "\n") {
				if name, value, ok := strings.Cut(line, ": "); ok && got.header.Get(name) != value {
					t.Errorf("%s: %q; want %q", name, got.header.Get(name), value)
				}
			}
			for name := range strings.FieldsSeq(test.absent) {
				if _, ok := got.header[name]; ok {
					t.Errorf("%s is there: %q", name, got.header[name])
				}
			}
		})
	}
}

// The router alone, too, neither cleans nor redirects, nor takes an escaped
// slash for a slash.
func TestHandlerRouter(t *testing.T) {
	h := handler(t, render(t, issuer(t, "https://x.test/a%2Fb"), keytest.Set(t, 1)))
	for path, want := range map[string]int{
		"/a%2Fb/openid/v1/jwks": 200, "//a%2Fb/openid/v1/jwks": 404, "/c/../a%2Fb/openid/v1/jwks": 404, "/a/b/openid/v1/jwks": 404,
	} {
		w := httptest.NewRecorder()
		h.Router().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
		if w.Code != want {
			t.Errorf("%s: %d, Location %q; want %d", path, w.Code, w.Header().Get("Location"), want)
		}
	}
}

func TestHandlerBeforeTheFirstDocuments(t *testing.T) {
	x := issuer(t, "https://x.test")
	h, err := oidc.NewHandler(x)
	if err != nil {
		t.Fatal(err)
	}
	ask := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/openid/v1/jwks", nil))
		return w
	}
	if w := ask(); w.Code != 503 || w.Header().Get("Retry-After") != "1" {
		t.Errorf("%d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	h.Set(render(t, x, keytest.Set(t, 1)))
	if w := ask(); w.Code != 200 {
		t.Errorf("with documents: %d", w.Code)
	}
}

func TestHandlerKeepsIssuersApart(t *testing.T) {
	one, two := render(t, issuer(t, "https://x.test/one"), keytest.Set(t, 1)), render(t, issuer(t, "https://x.test/two"), keytest.Set(t, 2))
	h := handler(t, one, two)
	h.Set(render(t, issuer(t, "https://x.test/three"), keytest.Set(t, 1))) // nobody's
	got := map[string]string{}
	for _, path := range []string{"/one/openid/v1/jwks", "/two/openid/v1/jwks", "/three/openid/v1/jwks", "/openid/v1/jwks"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
		got[path] = w.Body.String()
	}
	want := map[string]string{
		"/one/openid/v1/jwks": string(one.JWKS.Body), "/two/openid/v1/jwks": string(two.JWKS.Body),
		"/three/openid/v1/jwks": "no document here\n", "/openid/v1/jwks": "no document here\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bodies (-want +got):\n%s", diff)
	}
	_, err := oidc.NewHandler(issuer(t, "https://x.test/a"), issuer(t, "https://y.test/a/"))
	if err == nil || err.Error() != `issuers "https://x.test/a" and "https://y.test/a/" have the same path "/a/.well-known/openid-configuration": one server cannot tell them apart` {
		t.Errorf("error %v", err)
	}
}

// Readers during a swap see one version whole, and what they saw last stays valid.
func TestHandlerSwapsAtomically(t *testing.T) {
	x := issuer(t, "https://x.test")
	versions := []oidc.Documents{render(t, x, keytest.Set(t, 1)), render(t, x, keytest.Set(t, 1, 2))}
	known := map[string]string{}
	h := handler(t, versions[0])
	for _, v := range versions {
		w := httptest.NewRecorder()
		h.Set(v)
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/openid/v1/jwks", nil))
		known[w.Header().Get("Etag")] = w.Body.String()
	}
	if len(known) != 2 {
		t.Fatalf("ETags %v; want two", slices.Collect(maps.Keys(known)))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 2000 {
			h.Set(versions[i%2])
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/openid/v1/jwks", nil))
		if known[w.Header().Get("Etag")] != w.Body.String() {
			t.Fatalf("ETag %s came with the other body", w.Header().Get("Etag"))
		}
	}
}

// discard is a ResponseWriter that costs nothing.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

// fewest is how often f allocates when nothing else interferes: under -race,
// the pools of package regexp forget at random.
func fewest(f func()) float64 {
	least := testing.AllocsPerRun(1, f)
	for range 200 {
		least = min(least, testing.AllocsPerRun(1, f))
	}
	return least
}

// Serving allocates nothing beside what mux does to find the route.
func TestHandlerAllocations(t *testing.T) {
	h := handler(t, render(t, issuer(t, "https://x.test"), keytest.Set(t, 1)))
	w := discard{http.Header{}}
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/openid/v1/jwks", nil)
	bare := bareMux("/openid/v1/jwks", "/.well-known/openid-configuration")
	routing := fewest(func() { bare.Match(r, new(mux.RouteMatch)) })
	if got := fewest(func() { h.ServeHTTP(w, r) }); got != routing {
		t.Errorf("200: %v allocations; mux alone %v", got, routing)
	}
	r.Header["If-None-Match"] = []string{w.header.Get("Etag")}
	if got := fewest(func() { h.ServeHTTP(w, r) }); got != routing {
		t.Errorf("304: %v allocations; mux alone %v", got, routing)
	}
}
