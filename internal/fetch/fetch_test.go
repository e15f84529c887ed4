package fetch_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/fetch"
	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// serve starts an HTTPS server and returns its address and a transport that
// trusts it.
func serve(t *testing.T, handler http.HandlerFunc) (address string, transport http.RoundTripper) {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	return server.URL, server.Client().Transport
}

func write(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "CANARY", code) }
}

func TestGetReturnsTheBody(t *testing.T) {
	longest := strings.Repeat("x", keys.MaxInputSize)
	address, transport := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept"); got != "text/x-test" {
			t.Errorf("Accept is %q", got)
		}
		if got := r.Header.Get("User-Agent"); got != "issuer-sync" {
			t.Errorf("User-Agent is %q", got)
		}
		write(longest)(w, r)
	})
	body, err := fetch.Get(t.Context(), transport, address, "text/x-test")
	if err != nil || string(body) != longest {
		t.Errorf("got %d bytes, error %v; want %d", len(body), err, len(longest))
	}
}

func TestGetRefuses(t *testing.T) {
	var packed bytes.Buffer
	packer := gzip.NewWriter(&packed)
	if _, err := packer.Write(make([]byte, 2*keys.MaxInputSize)); err != nil {
		t.Fatal(err)
	}
	if err := packer.Close(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		want    string
	}{
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/?CANARY", http.StatusFound)
		}, "answered 302 Found; want 200 OK, redirects are not followed"},
		{"forbidden", status(http.StatusForbidden), "answered 403 Forbidden; want 200 OK"},
		{"a server's fault", status(http.StatusBadGateway), "answered 502 Bad Gateway; want 200 OK"},
		{"another kind of success", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNoContent)
		}, "answered 204 No Content; want 200 OK"},
		{"one byte too many", write(strings.Repeat("x", keys.MaxInputSize+1)), "too large: an answer of more than 1048576 bytes"},
		{"a small answer that unpacks to a large one", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(packed.Bytes())
		}, "too large: an answer of more than 1048576 bytes"},
		{"an answer that is cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "CANARY")
		}, "reading the answer: unexpected EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			address, transport := serve(t, test.handler)
			body, err := fetch.Get(t.Context(), transport, address, "application/json")
			if err == nil || err.Error() != test.want {
				t.Errorf("got error %v\nwant      %s", err, test.want)
			}
			if body != nil {
				t.Errorf("got %d bytes beside the error", len(body))
			}
		})
	}
}

func TestStatusCanBeTold(t *testing.T) {
	address, transport := serve(t, status(http.StatusForbidden))
	_, err := fetch.Get(t.Context(), transport, address, "application/json")
	if told, ok := errors.AsType[*fetch.StatusError](err); !ok || told.Code != http.StatusForbidden {
		t.Errorf("got %v; want a StatusError with 403", err)
	}
}

func TestGetKeepsTheURLOutOfErrors(t *testing.T) {
	_, transport := serve(t, write(""))
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{
		"https://user:CANARY@" + closed + "/jwks?sig=CANARY",
		"https://user:CANARY@host:port/?sig=CANARY",
	} {
		_, err := fetch.Get(t.Context(), transport, address, "application/json")
		if err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("got error %v", err)
		}
	}
}

// roundTrip is a server of which a test says when it answers.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// stuck is a body of which nothing comes.
type stuck struct{ ctx context.Context }

func (s stuck) Read([]byte) (int, error) { <-s.ctx.Done(); return 0, s.ctx.Err() }
func (stuck) Close() error               { return nil }

func TestGetGivesUpAfterTenSeconds(t *testing.T) {
	for _, test := range []struct {
		name   string
		server roundTrip
		want   string
	}{
		{"when no answer comes", func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}, "no complete answer within 10s: context deadline exceeded"},
		{"when the answer stops", func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: stuck{r.Context()}}, nil
		}, "no complete answer within 10s: reading the answer: context deadline exceeded"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				_, err := fetch.Get(t.Context(), test.server, "https://example.test/", "application/json")
				if err == nil || err.Error() != test.want {
					t.Errorf("got error %v\nwant      %s", err, test.want)
				}
				if took := time.Since(start); took != fetch.Timeout {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

func TestKeysObserves(t *testing.T) {
	jwks, err := keytest.Set(t, 1, 2).JWKS()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		want    keys.Set
		err     string
	}{
		{"a key set", write(string(jwks)), keytest.Set(t, 1, 2), ""},
		{"a refusal", status(http.StatusForbidden), keys.Set{}, "ORIGIN: reading the key set: answered 403 Forbidden; want 200 OK"},
		{"a login page", write("<html>CANARY</html>"), keys.Set{}, "ORIGIN: not a JWK set: it looks like HTML or XML"},
		{"no key", write(`{"keys":[]}`), keys.Set{}, "ORIGIN: no usable key"},
		{"half a set", write(string(jwks[:len(jwks)/2])), keys.Set{}, "ORIGIN: not a JWK set: unexpected end of JSON input"},
	} {
		t.Run(test.name, func(t *testing.T) {
			address, transport := serve(t, test.handler)
			got := fetch.Keys(t.Context(), transport, "ORIGIN", address)
			text := ""
			if got.Err != nil {
				text = got.Err.Error()
			}
			if got.Origin != "ORIGIN" || text != test.err || !got.Keys.Equal(test.want) {
				t.Errorf("got origin %q, keys %q, error %q\nwant keys %q, error %q", got.Origin, got.Keys.IDs(), text, test.want.IDs(), test.err)
			}
		})
	}
}

func TestDiscovery(t *testing.T) {
	for _, test := range []struct {
		name, body string
		want       fetch.Document
		err        string
	}{
		{
			"reads what matters", `{"issuer":"https://a.test/","jwks_uri":"https://b.test/keys","x":1}`,
			fetch.Document{Issuer: "https://a.test/", JWKSURI: "https://b.test/keys"},
			"",
		},
		{"refuses HTML", `<html>`, fetch.Document{}, "parsing the discovery document: invalid character '<' looking for beginning of value"},
		{
			"refuses a second issuer", `{"issuer":"https://a.test","issuer":"https://b.test"}`,
			fetch.Document{},
			"parsing the discovery document: json: duplicate key 'issuer' in object",
		},
		{
			"refuses other types", `{"issuer":1}`,
			fetch.Document{},
			"parsing the discovery document: json: cannot unmarshal number into Go value of type string",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			address, transport := serve(t, write(test.body))
			got, err := fetch.Discovery(t.Context(), transport, address)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if text := errorText(err); text != test.err {
				t.Errorf("got error  %q\nwant error %q", text, test.err)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// It stands here for oidc.Proxy, which all transports are given: net/http reads
// the environment once, and this is the only test of this package that asks.
func TestProxySparesLinkLocalAddresses(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://proxy.test:3128")
	t.Setenv("NO_PROXY", "")
	for address, want := range map[string]string{
		"https://example.test/":               "http://proxy.test:3128",
		"https://10.0.0.1:6443/":              "http://proxy.test:3128",
		"https://169.254.169.254/":            "",
		"https://[fe80::1]:443/":              "",
		"https://[::ffff:169.254.169.254]:1/": "",
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		proxy, err := oidc.Proxy(request)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if proxy != nil {
			got = proxy.String()
		}
		if got != want {
			t.Errorf("%s: got proxy %q, want %q", address, got, want)
		}
	}
}
