package oidc_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gorilla/mux"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
)

// bareMux routes the paths as the handler does, to nothing.
func bareMux(paths ...string) http.Handler {
	router := mux.NewRouter().SkipClean(true).UseEncodedPath()
	for _, path := range paths {
		router.Path(path).HandlerFunc(func(http.ResponseWriter, *http.Request) {})
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
	b.Run("mux alone", func(b *testing.B) {
		empty := bareMux("/.well-known/openid-configuration", "/openid/v1/jwks")
		b.ReportAllocs()
		for b.Loop() {
			empty.ServeHTTP(w, r)
		}
	})
}
