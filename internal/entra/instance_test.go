package entra_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azcloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/entra"
	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/selfcert"
	"github.com/issuer-sync/issuer-sync/test/cloud"
)

// everywhere is a network in which every name leads to the stand-in, as a
// cluster's DNS can make Microsoft's do. It notes what it is asked.
type everywhere struct {
	client *http.Client

	mu    sync.Mutex // guards asked
	asked []string
}

func newEverywhere(t *testing.T, server *entra.Server, roots *x509.CertPool) *everywhere {
	t.Helper()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server.Address())
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &everywhere{client: &http.Client{Transport: transport}}
}

// Do implements azcore's policy.Transporter.
func (e *everywhere) Do(r *http.Request) (*http.Response, error) {
	e.mu.Lock()
	e.asked = append(e.asked, r.Method+" "+r.URL.Host+r.URL.Path)
	e.mu.Unlock()
	return e.client.Do(r)
}

// TestAnSDKWithDefaultOptions has Azure's SDK for Go, as programs use it, in a
// network where Microsoft's names lead to the stand-in.
func TestAnSDKWithDefaultOptions(t *testing.T) {
	const microsoft, own = "login.microsoftonline.com", "entra-stand-in.entra-stand-in.svc.cluster.local"
	for name, test := range map[string]struct {
		url, authority string
		asked          []string
	}{
		"the stand-in as the public cloud": {
			"https://" + microsoft, "https://" + microsoft + "/",
			[]string{
				"GET " + microsoft + "/common/discovery/instance", // for its cache
				"GET " + microsoft + "/" + tenant + "/v2.0/.well-known/openid-configuration",
				"POST " + microsoft + tokenPath,
			},
		},
		"the stand-in by its own name": {
			"https://" + own, "https://" + own + "/",
			[]string{
				"GET " + microsoft + "/common/discovery/instance", // for its cache
				"GET " + microsoft + "/common/discovery/instance", // for an authority that it does not know
				"GET " + own + "/" + tenant + "/v2.0/.well-known/openid-configuration",
				"POST " + own + tokenPath,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			server, roots := runNamed(t, entra.Config{URL: test.url, Apps: []entra.App{c.app()}, Roots: c.roots()}, microsoft, own)
			network := newEverywhere(t, server, roots)
			credential, err := azidentity.NewClientAssertionCredential(tenant, client,
				func(context.Context) (string, error) { return c.mint(t, 1), nil },
				&azidentity.ClientAssertionCredentialOptions{ClientOptions: azcore.ClientOptions{
					Cloud: azcloud.Configuration{ActiveDirectoryAuthorityHost: test.authority}, Transport: network,
				}})
			if err != nil {
				t.Fatal(err)
			}
			token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{vault}})
			if err != nil || token.Token == "" {
				t.Errorf("got %q, error %v; want an access token", token.Token, err)
			}
			if diff := cmp.Diff(test.asked, network.asked); diff != "" {
				t.Errorf("what was asked (-want +got):\n%s", diff)
			}
		})
	}
}

// runNamed serves a stand-in whose certificate is for these names, and given to
// it.
func runNamed(t *testing.T, config entra.Config, names ...string) (*entra.Server, *x509.CertPool) {
	t.Helper()
	now := time.Now()
	certificate, err := selfcert.New(selfcert.Spec{
		Name: "test", CAName: "test CA", DNSNames: names, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	config.Key, config.Log = keytest.RSA(t, 9), slog.New(slog.DiscardHandler)
	server, err := entra.Listen(t.Context(), entra.ListenConfig{Address: "127.0.0.1:0", GetCertificate: certificate.Get}, config)
	if err != nil {
		t.Fatal(err)
	}
	cloud.Run(t, server.Run)
	if ca := server.CA(); ca != nil {
		t.Errorf("the server has a CA of its own: %s", ca)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate.CA)
	return server, roots
}

func TestInstanceDiscovery(t *testing.T) {
	c := newCluster(t)
	s := newStandIn(t, c)
	for name, test := range map[string]struct {
		endpoint, want string
	}{
		"a tenant of the public cloud": {
			"https://login.microsoftonline.com/" + tenant + "/oauth2/v2.0/authorize",
			"https://login.microsoftonline.com/" + tenant + "/v2.0/.well-known/openid-configuration",
		},
		"another name of it, as MSAL for Python asks": {
			"https://Login.Windows.net/common/oauth2/authorize",
			"https://Login.Windows.net/common/.well-known/openid-configuration",
		},
		"another cloud": {
			"https://login.microsoftonline.us/" + tenant + "/oauth2/v2.0/authorize",
			"https://login.microsoftonline.us/" + tenant + "/v2.0/.well-known/openid-configuration",
		},
		"the stand-in": {
			"https://standin.example/" + tenant + "/oauth2/v2.0/authorize",
			"https://standin.example/" + tenant + "/v2.0/.well-known/openid-configuration",
		},
	} {
		var got struct {
			Endpoint string `json:"tenant_discovery_endpoint"`
			Metadata []struct {
				Network string `json:"preferred_network"`
				Cache   string `json:"preferred_cache"`
				Aliases []string
			}
		}
		recorder := get(t, s, "/common/discovery/instance?api-version=1.1&authorization_endpoint="+url.QueryEscape(test.endpoint))
		if err := json.Unmarshal(recorder.Body.Bytes(), &got); err != nil || recorder.Code != http.StatusOK || got.Endpoint != test.want {
			t.Errorf("%s: got %d %s, error %v; want %s", name, recorder.Code, recorder.Body, err, test.want)
		}
		asked, err := url.Parse(test.endpoint)
		if err != nil {
			t.Fatal(err)
		}
		known := 0
		for _, entry := range got.Metadata {
			if entry.Network == "" || entry.Cache == "" || !slices.Contains(entry.Aliases, entry.Network) {
				t.Errorf("%s: got metadata %+v; want a network among its aliases, and a cache", name, entry)
			}
			if slices.Contains(entry.Aliases, strings.ToLower(asked.Host)) {
				known++
			}
		}
		if known != 1 {
			t.Errorf("%s: the host is in %d entries of %s; want one", name, known, recorder.Body)
		}
	}
}

func TestInstanceDiscoveryRefuses(t *testing.T) {
	s := newStandIn(t, newCluster(t))
	for name, test := range map[string]struct {
		query, code string
		aadsts      int
	}{
		"a stranger": {"?authorization_endpoint=https://login.example/" + tenant + "/oauth2/v2.0/authorize", "invalid_instance", 50049},
		"no https":   {"?authorization_endpoint=http://login.microsoftonline.com/" + tenant, "invalid_instance", 50049},
		"no URL":     {"?authorization_endpoint=%25", "invalid_instance", 50049},
		"nothing":    {"", "invalid_request", 900144},
	} {
		recorder := get(t, s, "/common/discovery/instance"+test.query)
		a := read(t, recorder.Code, recorder.Header(), recorder.Body)
		if a.status != http.StatusBadRequest || a.Code != test.code || !slices.Equal(a.Codes, []int{test.aadsts}) {
			t.Errorf("%s: got %d %s; want 400, %s and AADSTS%d", name, a.status, a.raw, test.code, test.aadsts)
		}
	}
}

func TestEveryRequestIsLoggedButThoseOfProbes(t *testing.T) {
	var log strings.Builder
	c := newCluster(t)
	s, err := entra.New(entra.Config{
		URL: "https://standin.example", Key: keytest.RSA(t, 9), Apps: []entra.App{c.app()}, Roots: c.roots(), Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if recorder := get(t, s, "/healthz"); recorder.Code != http.StatusOK {
		t.Errorf("got %d %s; want 200", recorder.Code, recorder.Body)
	}
	get(t, s, "/"+tenant+"/v2.0/.well-known/openid-configuration")
	get(t, s, "/metadata/instance")
	post(t, s, tokenPath, form(c.mint(t, 1)))
	for _, want := range []string{
		`msg="was asked" path=/` + tenant + `/v2.0/.well-known/openid-configuration known=true`,
		`msg="was asked" path=/metadata/instance known=false`,
		`msg="issued an access token" tenant=` + tenant,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not have %s:\n%s", want, &log)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 3 {
		t.Errorf("%d lines for 3 requests and a probe:\n%s", n, &log)
	}
}

// get asks a handler.
func get(t *testing.T, handler http.Handler, target string) *httptest.ResponseRecorder {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody))
	return recorder
}

func TestAllAddressesOnlyIfToldTo(t *testing.T) {
	for address, valid := range map[string]bool{":8443": true, "0.0.0.0:8443": true, "[::]:8443": true, "127.0.0.1:8443": true, "localhost:8443": false, "8443": false} {
		err := entra.ListenConfig{Address: address, Anywhere: true}.Validate()
		if (err == nil) != valid {
			t.Errorf("%q, anywhere: got error %v; want valid to be %t", address, err, valid)
		}
	}
}
