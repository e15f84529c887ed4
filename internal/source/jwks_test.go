package source_test

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/source"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// issuer starts another issuer and returns its URL and the file of its CA.
func issuer(t *testing.T, handler http.Handler, settings *tls.Config) (address, caFile string) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.TLS = settings
	server.Config.ErrorLog = log.New(t.Output(), "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	caFile = filepath.Join(t.TempDir(), "ca.crt")
	writeFile(t, caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	return server.URL, caFile
}

func observe(t *testing.T, config source.JWKSConfig) keys.Observation {
	t.Helper()
	mirror, err := source.NewJWKS(config)
	if err != nil {
		t.Fatal(err)
	}
	got := mirror.Observe(t.Context())
	if len(got) != 1 {
		t.Fatalf("got %d observations, want 1", len(got))
	}
	return got[0]
}

// upstream answers as another issuer does, well and badly. discovery is its
// document, in which BASE stands for its own URL.
func upstream(t *testing.T, discovery string) http.Handler {
	t.Helper()
	jwks, err := keytest.Set(t, 1, 2).JWKS()
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	answer := func(path, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, strings.ReplaceAll(body, "BASE", "https://"+r.Host))
		})
	}
	answer("/jwks", string(jwks))
	answer("/html", "<!doctype html>CANARY")
	answer("/huge", strings.Repeat("CANARY", 1<<20))
	answer("/half", string(jwks[:len(jwks)-20]))
	answer("/other"+"/.well-known/openid-configuration", discovery)
	mux.Handle("/moved", http.RedirectHandler("/jwks", http.StatusMovedPermanently))
	mux.HandleFunc("/forbidden", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "CANARY", http.StatusForbidden) })
	return mux
}

func TestJWKSObserves(t *testing.T) {
	both := keytest.Set(t, 1, 2).IDs()
	const document = "/other/.well-known/openid-configuration"
	for _, test := range []struct {
		name      string
		path      string
		discovery string
		want      summary
	}{
		{"a key set", "/jwks", "", summary{Origin: "jwks DIR/jwks", Keys: both}},
		{"a key set whose query is a secret", "/jwks?sig=CANARY#x", "", summary{Origin: "jwks DIR/jwks", Keys: both}},
		{
			"the key set that a discovery document names", document, `{"issuer":"https://a.test","jwks_uri":"BASE/jwks"}`,
			summary{Origin: "jwks DIR" + document, Keys: both},
		},
		{"a redirect", "/moved", "", summary{
			Origin: "jwks DIR/moved",
			Err:    "jwks DIR/moved: reading the key set: answered 301 Moved Permanently; want 200 OK, redirects are not followed",
		}},
		{"a login page", "/html", "", summary{Origin: "jwks DIR/html", Err: "jwks DIR/html: not a JWK set: it looks like HTML or XML"}},
		{"a refusal", "/forbidden?sig=CANARY", "", summary{
			Origin: "jwks DIR/forbidden",
			Err:    "jwks DIR/forbidden: reading the key set: answered 403 Forbidden; want 200 OK",
		}},
		{"too much", "/huge", "", summary{
			Origin: "jwks DIR/huge",
			Err:    "jwks DIR/huge: reading the key set: too large: an answer of more than 1048576 bytes",
		}},
		{"half a set", "/half", "", summary{Origin: "jwks DIR/half", Err: "jwks DIR/half: not a JWK set: unexpected end of JSON input"}},
		{"a discovery document without key set", document, `{"issuer":"https://a.test"}`, summary{
			Origin: "jwks DIR" + document,
			Err:    "jwks DIR" + document + `: "jwks_uri" of the discovery document: it is missing; want an https URL`,
		}},
		{"a discovery document that leads to http", document, `{"jwks_uri":"http://u:CANARY@a.test/jwks?CANARY"}`, summary{
			Origin: "jwks DIR" + document,
			Err:    "jwks DIR" + document + `: "jwks_uri" of the discovery document: "http://a.test/jwks"; want an https URL`,
		}},
		{"a discovery document that leads to a file", document, `{"jwks_uri":"file:///etc/shadow"}`, summary{
			Origin: "jwks DIR" + document,
			Err:    "jwks DIR" + document + `: "jwks_uri" of the discovery document: "file:///etc/shadow"; want an https URL`,
		}},
		{"a discovery document that leads to a redirect", document, `{"jwks_uri":"BASE/moved"}`, summary{
			Origin: "jwks DIR" + document,
			Err:    "jwks DIR" + document + ": reading the key set: answered 301 Moved Permanently; want 200 OK, redirects are not followed",
		}},
		{"a discovery document that is none", document, "<html>CANARY", summary{
			Origin: "jwks DIR" + document,
			Err:    "jwks DIR" + document + ": parsing the discovery document: invalid character '<' looking for beginning of value",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			address, caFile := issuer(t, upstream(t, test.discovery), nil)
			got := observe(t, source.JWKSConfig{URL: address + test.path, CAFile: caFile})
			if diff := cmp.Diff([]summary{test.want}, summarize([]keys.Observation{got}, address)); diff != "" {
				t.Error(diff)
			}
			if text := fmt.Sprintf("%+v", got); strings.Contains(text, "CANARY") {
				t.Errorf("a secret or the body is in %q", text)
			}
		})
	}
}

func TestJWKSSendsUserAndQuery(t *testing.T) {
	asked := make(chan string, 1)
	address, caFile := issuer(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		asked <- user + " " + password + " " + r.RequestURI
	}), nil)
	observe(t, source.JWKSConfig{URL: strings.Replace(address, "://", "://user:password@", 1) + "/jwks?sig=1", CAFile: caFile})
	if got, want := <-asked, "user password /jwks?sig=1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestJWKSTrustsNobodyElse(t *testing.T) {
	address, caFile := issuer(t, upstream(t, ""), nil)
	for _, test := range []struct {
		name, caFile string
		settings     *tls.Config
		want         string
	}{
		{"a CA that is not the system's", "", nil, "x509: certificate signed by unknown authority"},
		{
			"TLS 1.1", caFile, &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10},
			"remote error: tls: protocol version not supported",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.settings != nil {
				address, _ = issuer(t, upstream(t, ""), test.settings)
			}
			got := observe(t, source.JWKSConfig{URL: address + "/jwks", CAFile: test.caFile})
			if got.Err == nil || !strings.HasSuffix(got.Err.Error(), test.want) {
				t.Errorf("got error %v\nwant      ... %s", got.Err, test.want)
			}
		})
	}
}

func TestNewJWKSRefuses(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.crt")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		config source.JWKSConfig
		want   string
	}{
		{"no URL", source.JWKSConfig{}, "jwks url: it is missing; want an https URL"},
		{"http", source.JWKSConfig{URL: "http://user:CANARY@a.test/jwks?CANARY"}, `jwks url: "http://a.test/jwks"; want an https URL`},
		{"no scheme", source.JWKSConfig{URL: "a.test/jwks"}, `jwks url: "a.test/jwks"; want an https URL`},
		{"no host", source.JWKSConfig{URL: "https:///jwks"}, `jwks url: "https:///jwks"; want an https URL`},
		{"a bad port", source.JWKSConfig{URL: "https://user:CANARY@a.test:https/jwks"}, `jwks url: invalid port ":https" after host; want an https URL`},
		{"a missing CA file", source.JWKSConfig{URL: "https://a.test/jwks", CAFile: "/nowhere/ca.crt"}, `jwks caFile "/nowhere/ca.crt": no such file or directory`},
		{
			"a CA file without certificate",
			source.JWKSConfig{URL: "https://a.test/jwks", CAFile: empty},
			fmt.Sprintf("jwks caFile %q: it holds no PEM certificate", empty),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := source.NewJWKS(test.config)
			if err == nil || err.Error() != test.want {
				t.Errorf("got error %v\nwant      %s", err, test.want)
			}
		})
	}
}
