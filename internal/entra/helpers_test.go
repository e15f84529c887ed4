package entra_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/issuer-sync/issuer-sync/internal/entra"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
	"github.com/issuer-sync/issuer-sync/test/cloud"
)

const (
	tenant   = "11111111-1111-1111-1111-111111111111"
	client   = "22222222-2222-2222-2222-222222222222"
	object   = "33333333-3333-3333-3333-333333333333"
	pod      = "system:serviceaccount:default:demo"
	audience = "api://AzureADTokenExchange"
	vault    = "https://vault.azure.net/.default"
)

// cluster is an issuer that publishes over real TLS, and its keys.
type cluster struct {
	server  *cloud.Issuer
	issuer  oidc.Issuer
	fetched atomic.Int64
	// instead answers instead of the issuer if it returns true.
	instead atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	c := new(cluster)
	c.server = cloud.NewIssuer(t, func(documents http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c.fetched.Add(1)
			if instead := c.instead.Load(); instead == nil || !(*instead)(w, r) {
				documents.ServeHTTP(w, r)
			}
		})
	})
	c.issuer = c.server.ID
	return c
}

// publish publishes the test keys with these numbers.
func (c *cluster) publish(t testing.TB, numbers ...int) {
	t.Helper()
	c.server.Publish(t, numbers...)
}

func (c *cluster) roots() *x509.CertPool { return c.server.Roots() }

func (c *cluster) credential() entra.Credential {
	return entra.Credential{Issuer: c.issuer.String(), Subject: pod, Audience: audience}
}

func (c *cluster) app() entra.App {
	return entra.App{Tenant: tenant, Client: client, Object: object, Credentials: []entra.Credential{c.credential()}}
}

// claims are those of a good token.
func (c *cluster) claims() jwt.Claims { return cloud.Claims(c.credential()) }

// mint signs what kube-apiserver signs, with the n-th test key.
func (c *cluster) mint(t testing.TB, n int, change ...func(*jwt.Claims)) string {
	t.Helper()
	claims := c.claims()
	for _, f := range change {
		f(&claims)
	}
	return cloud.Token(t, n, claims)
}

func sign(t testing.TB, private crypto.PrivateKey, algorithm jose.SignatureAlgorithm, keyID string, claims jwt.Claims) string {
	t.Helper()
	return cloud.Sign(t, jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: private, KeyID: keyID}}, claims)
}

// run serves a stand-in on loopback until the test ends.
func run(t testing.TB, config entra.Config) *entra.Server {
	t.Helper()
	return cloud.Entra(t, config)
}

// trusting is a client for a stand-in.
func trusting(t testing.TB, server *entra.Server) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(server.CA()) {
		t.Fatal("the CA is no certificate")
	}
	httpClient := httptest.NewTLSServer(nil).Client()
	transport := httpClient.Transport.(*http.Transport)
	transport.TLSClientConfig.RootCAs = pool
	t.Cleanup(transport.CloseIdleConnections)
	return httpClient
}

func form(assertion string) url.Values {
	return url.Values{
		"grant_type":            {"client_credentials"},
		"client_id":             {client},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {assertion},
		"scope":                 {vault},
	}
}

// answered is what the stand-in said.
type answered struct {
	status int
	header http.Header
	raw    string

	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int    `json:"expires_in"`
	Extended    int    `json:"ext_expires_in"`
	Code        string `json:"error"`
	Description string `json:"error_description"`
	Codes       []int  `json:"error_codes"`
	Correlation string `json:"correlation_id"`
	Trace       string `json:"trace_id"`
	StandIn     string `json:"stand_in"`
}

// post sends a form to a handler.
func post(t testing.TB, handler http.Handler, path string, form url.Values) answered {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(form.Encode()))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Client-Request-Id", object)
	request.Header.Set("Return-Client-Request-Id", "true")
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return read(t, recorder.Code, recorder.Header(), recorder.Body)
}

func read(t testing.TB, status int, header http.Header, body io.Reader) answered {
	t.Helper()
	var raw bytes.Buffer
	a := answered{status: status, header: header}
	if err := json.NewDecoder(io.TeeReader(body, &raw)).Decode(&a); err != nil {
		t.Fatalf("status %d, not JSON: %v", status, err)
	}
	a.raw = raw.String()
	return a
}

const tokenPath = "/" + tenant + "/oauth2/v2.0/token"

// published is a key as in a JWK set.
func published(t testing.TB, public crypto.PublicKey) keys.Key {
	t.Helper()
	key, err := keys.New(public)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
