package entra_test

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/internal/entra"
	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

func TestIssuerIsAtFault(t *testing.T) {
	const failed = "Request to External OIDC endpoint failed."
	is := func(r *http.Request, path string) bool { return r.URL.Path == "/"+path }
	c := newCluster(t)
	s := newStandIn(t, c)
	for name, test := range map[string]struct {
		instead func(c *cluster, w http.ResponseWriter, r *http.Request) bool
		aadsts  int
		text    string
		detail  string
	}{
		"discovery is private": {func(_ *cluster, w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "no", http.StatusForbidden)
			return true
		}, 90061, failed, "403 Forbidden"},
		"discovery redirects": {func(_ *cluster, w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
			return true
		}, 90061, failed, "302 Found"},
		"discovery is a page": {func(_ *cluster, w http.ResponseWriter, _ *http.Request) bool {
			_, err := w.Write([]byte("<html>"))
			return err == nil
		}, 90061, failed, "failed to decode provider discovery object"},
		"discovery names another issuer": {func(c *cluster, w http.ResponseWriter, _ *http.Request) bool {
			_, err := w.Write([]byte(`{"issuer":"` + c.issuer.String() + `/","jwks_uri":"` + c.issuer.JWKSURL() + `"}`))
			return err == nil
		}, 90061, failed, "did not match"},
		"discovery without TLS for the keys": {func(c *cluster, w http.ResponseWriter, _ *http.Request) bool {
			_, err := w.Write([]byte(`{"issuer":"` + c.issuer.String() + `","jwks_uri":"http://127.0.0.1/"}`))
			return err == nil
		}, 90061, failed, `jwks_uri "http://127.0.0.1/"`},
		"keys are private": {func(_ *cluster, w http.ResponseWriter, r *http.Request) bool {
			if is(r, oidc.JWKSPath) {
				http.Error(w, "no", http.StatusForbidden)
			}
			return is(r, oidc.JWKSPath)
		}, 50166, failed, "403 Forbidden"},
		"keys are a page": {func(_ *cluster, w http.ResponseWriter, r *http.Request) bool {
			if is(r, oidc.JWKSPath) {
				_, err := w.Write([]byte("<html>"))
				return err == nil
			}
			return false
		}, 900612, "Failed to parse provider signing keys.", "failed to decode keys"},
	} {
		t.Run(name, func(t *testing.T) {
			s.Forget()
			instead := func(w http.ResponseWriter, r *http.Request) bool { return test.instead(c, w, r) }
			c.instead.Store(&instead)
			a := post(t, s, tokenPath, form(c.mint(t, 1)))
			refused(t, a, 400, "invalid_request", test.aadsts, test.text)
			if !strings.Contains(a.StandIn, test.detail) {
				t.Errorf("the stand-in says %q; want %q in it", a.StandIn, test.detail)
			}
			c.instead.Store(nil)
			if a := post(t, s, tokenPath, form(c.mint(t, 1))); a.status != http.StatusOK {
				t.Errorf("repaired: got %d %s; want 200", a.status, a.raw)
			}
		})
	}
}

func TestIssuerIsGoneOrNotTrusted(t *testing.T) {
	c := newCluster(t)
	s, err := entra.New(entra.Config{URL: "https://standin.example", Key: keytest.RSA(t, 9), Apps: []entra.App{c.app()}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	refused(t, post(t, s, tokenPath, form(c.mint(t, 1))), 400, "invalid_request", 90061, "Request to External OIDC endpoint failed.")
	s = newStandIn(t, c)
	c.server.Close()
	refused(t, post(t, s, tokenPath, form(c.mint(t, 1))), 400, "invalid_request", 90061, "Request to External OIDC endpoint failed.")
}

func TestDocumentsAreKept(t *testing.T) {
	c := newCluster(t)
	s := newStandIn(t, c)
	expect := func(what string, n int, assertion string, status int) {
		t.Helper()
		before := c.fetched.Load()
		if a := post(t, s, tokenPath, form(assertion)); a.status != status {
			t.Errorf("%s: got %d %s; want %d", what, a.status, a.raw, status)
		}
		if got := c.fetched.Load() - before; got != int64(n) {
			t.Errorf("%s: %d documents fetched; want %d", what, got, n)
		}
	}
	expect("first", 2, c.mint(t, 1), 200)
	expect("again", 0, c.mint(t, 1), 200)
	c.publish(t, 1, 2)
	expect("a new key", 1, c.mint(t, 2), 200)
	expect("the old key", 0, c.mint(t, 1), 200)
	expect("a key that nobody published", 2, c.mint(t, 3), 401) // once more to tell which code it is
	c.publish(t, 2)
	expect("a removed key, kept", 0, c.mint(t, 1), 200)
	s.Forget()
	expect("the key that stays", 2, c.mint(t, 2), 200)
	expect("a removed key", 2, c.mint(t, 1), 401)
}
