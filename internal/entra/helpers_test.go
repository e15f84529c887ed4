package entra_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/issuer-sync/issuer-sync/internal/entra"
	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
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
	server  *httptest.Server
	issuer  oidc.Issuer
	handler *oidc.Handler
	fetched atomic.Int64
	// instead answers instead of the handler if it returns true.
	instead atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	c := new(cluster)
	c.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.fetched.Add(1)
		if instead := c.instead.Load(); instead == nil || !(*instead)(w, r) {
			c.handler.ServeHTTP(w, r)
		}
	}))
	c.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	c.server.StartTLS()
	t.Cleanup(c.server.Close)
	var err error
	if c.issuer, err = oidc.ParseIssuer(c.server.URL); err != nil {
		t.Fatal(err)
	}
	if c.handler, err = oidc.NewHandler(c.issuer); err != nil {
		t.Fatal(err)
	}
	c.publish(t, 1)
	return c
}

// publish publishes the test keys with these numbers.
func (c *cluster) publish(t testing.TB, numbers ...int) {
	t.Helper()
	documents, err := oidc.Render(c.issuer, keytest.Set(t, numbers...))
	if err != nil {
		t.Fatal(err)
	}
	c.handler.Set(documents)
}

func (c *cluster) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.server.Certificate())
	return pool
}

func (c *cluster) app() entra.App {
	return entra.App{
		Tenant: tenant, Client: client, Object: object,
		Credentials: []entra.Credential{{Issuer: c.issuer.String(), Subject: pod, Audience: audience}},
	}
}

// claims are those of a good token.
func (c *cluster) claims() jwt.Claims {
	now := time.Now()
	return jwt.Claims{
		Issuer: c.issuer.String(), Subject: pod, Audience: jwt.Audience{audience},
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Hour)),
	}
}

// mint signs what kube-apiserver signs, with the n-th test key.
func (c *cluster) mint(t testing.TB, n int, change ...func(*jwt.Claims)) string {
	t.Helper()
	claims := c.claims()
	for _, f := range change {
		f(&claims)
	}
	return sign(t, keytest.RSA(t, n), jose.RS256, keytest.Key(t, n).ID, claims)
}

func sign(t testing.TB, private crypto.PrivateKey, algorithm jose.SignatureAlgorithm, keyID string, claims any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: private, KeyID: keyID}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// run serves a stand-in on loopback until the test ends.
func run(t testing.TB, config entra.Config) *entra.Server {
	t.Helper()
	config.Key = keytest.RSA(t, 9)
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	server, err := entra.Listen(t.Context(), entra.ListenConfig{Address: "127.0.0.1:0"}, config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := server.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return server
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
