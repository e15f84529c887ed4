package oidc_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gorilla/mux"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
)

// bareMux routes the paths as the handler does, to nothing.
func bareMux(paths ...string) *mux.Router {
	router := mux.NewRouter().SkipClean(true)
	for _, path := range paths {
		router.MatcherFunc(func(r *http.Request, _ *mux.RouteMatch) bool { return r.URL.EscapedPath() == path }).
			HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	}
	return router
}

func BenchmarkHandler(b *testing.B) {
	h := handler(b, render(b, issuer(b, "https://x.test"), keytest.Set(b, 1)))
	w := discard{http.Header{}}
	r := httptest.NewRequestWithContext(b.Context(), "GET", "/openid/v1/jwks", nil)
	h.ServeHTTP(w, r)
	b.Run("200", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h.ServeHTTP(w, r)
		}
	})
	b.Run("304", func(b *testing.B) {
		r.Header["If-None-Match"] = []string{w.header.Get("Etag")}
		b.ReportAllocs()
		for b.Loop() {
			h.ServeHTTP(w, r)
		}
	})
	empty := bareMux("/openid/v1/jwks", "/.well-known/openid-configuration")
	b.Run("mux's Match alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			empty.Match(r, new(mux.RouteMatch))
		}
	})
	templates := mux.NewRouter().SkipClean(true).UseEncodedPath()
	templates.Path("/openid/v1/jwks").HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	b.Run("mux's ServeHTTP with a path template", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			templates.ServeHTTP(w, r)
		}
	})
}
