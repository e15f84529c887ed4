package metadata_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/internal/metadata"
	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

// FuzzHandler gives the handler whatever net/http takes for a request. It must
// not panic, must answer in JSON, and must not give an access token but for a
// request that is right by the rules as they are written here once more.
func FuzzHandler(f *testing.F) {
	for _, test := range badRequests() {
		if len(test.request) < 2000 {
			f.Add(test.request)
		}
	}
	for _, path := range badPaths() {
		f.Add(get(path + query))
	}
	f.Add(get(asked))
	f.Add(get(asked+"&client_id="+other, "Content-Length: 1\r\n") + "x")
	s := new(source)
	handler := newHandler(f, s, func(c *metadata.Config) { c.AllowedClientIDs = []string{other} })
	f.Fuzz(func(t *testing.T, raw string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil {
			return
		}
		r = r.WithContext(t.Context())
		before := s.asked.Load()
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, r)
		body := recorder.Body.String()
		switch {
		case recorder.Code == http.StatusOK && body == "ok" && strings.HasPrefix(r.RequestURI, metadata.ReadyPath):
		case !json.Valid([]byte(body)):
			t.Fatalf("not JSON: %s", body)
		case recorder.Code == http.StatusOK:
			checkGranted(t, r, s.request())
			return
		case recorder.Code < 400 || recorder.Code >= 500:
			t.Fatalf("status %d: nothing here is the fault of others", recorder.Code)
		}
		if strings.Contains(body, secret) || s.asked.Load() != before {
			t.Fatalf("status %d, but the source was asked: %s", recorder.Code, body)
		}
	})
}

// checkGranted fails if the request should not have got an access token, or
// one for something else.
func checkGranted(t *testing.T, r *http.Request, got exchange.Request) {
	t.Helper()
	path, rest, _ := strings.Cut(r.RequestURI, "?")
	query, err := url.ParseQuery(rest)
	if err != nil {
		t.Fatalf("query %q: %v", rest, err)
	}
	for name, values := range query {
		if len(values) != 1 {
			t.Fatalf("%q is repeated", name)
		}
	}
	spelt := len(path) > 9 && slices.Contains([]string{metadata.TokenPath, metadata.TokenPath + "/"}, strings.ToLower(path[:9])+path[9:])
	want := exchange.Request{Tenant: tenant, Client: client, Scope: exchange.Scope(query.Get("resource"))}
	if id := query.Get("client_id"); id != "" {
		want.Client = strings.ToLower(id)
	}
	switch _, forwarded := r.Header["X-Forwarded-For"]; {
	case !spelt, r.Method != "GET", r.Proto == "HTTP/1.0", forwarded, len(r.TransferEncoding) > 0:
	case !slices.Equal(r.Header["Metadata"], []string{"true"}):
	case query.Get("resource") == "", query.Get("object_id")+query.Get("msi_res_id")+query.Get("mi_res_id") != "":
	case got != want, want.Client != client && want.Client != other:
	default:
		return
	}
	t.Fatalf("granted %v to %q, %v", got, r.RequestURI, r.Header)
}
