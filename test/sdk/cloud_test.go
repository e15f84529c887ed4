//go:build linux

package sdk_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/issuer-sync/issuer-sync/internal/entra"
	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

const (
	tenant   = "11111111-1111-1111-1111-111111111111"
	client   = "22222222-2222-2222-2222-222222222222" // of the pod
	stranger = "33333333-3333-3333-3333-333333333333" // has no federated credential for the pod
	unknown  = "44444444-4444-4444-4444-444444444444" // is in no directory
	subject  = "system:serviceaccount:default:app"
	audience = "api://AzureADTokenExchange"
)

// issuer is a cluster's: documents over HTTPS, and tokens made by hand with
// keys of tests. It is outside of the pod's network.
type issuer struct {
	server  *httptest.Server
	url     oidc.Issuer
	handler *oidc.Handler
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{server: httptest.NewUnstartedServer(nil)}
	i.server.StartTLS()
	t.Cleanup(i.server.Close)
	var err error
	if i.url, err = oidc.ParseIssuer(i.server.URL); err != nil {
		t.Fatal(err)
	}
	if i.handler, err = oidc.NewHandler(i.url); err != nil {
		t.Fatal(err)
	}
	i.publish(t, 1)
	i.server.Config.Handler = i.handler
	return i
}

// publish publishes the test keys with these numbers.
func (i *issuer) publish(t *testing.T, numbers ...int) {
	t.Helper()
	documents, err := oidc.Render(i.url, keytest.Set(t, numbers...))
	if err != nil {
		t.Fatal(err)
	}
	i.handler.Set(documents)
}

// tokenByHand signs, with the n-th test key, the claims that kube-apiserver
// signs and Entra reads.
func (i *issuer) tokenByHand(t *testing.T, n int) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: keytest.RSA(t, n), KeyID: keytest.Key(t, n).ID},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: i.url.String(), Subject: subject, Audience: jwt.Audience{audience}, ID: now.String(),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Hour)),
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// apps are the applications that Entra's stand-in knows.
func (i *issuer) apps() []entra.App {
	credential := entra.Credential{Issuer: i.url.String(), Subject: subject, Audience: audience}
	other := credential
	other.Subject = "system:serviceaccount:default:other"
	return []entra.App{
		{Tenant: tenant, Client: client, Credentials: []entra.Credential{credential}},
		{Tenant: tenant, Client: stranger, Credentials: []entra.Credential{other}},
	}
}

// newEntra serves Entra's stand-in in the pod's network until the test ends. It
// fetches from the issuer through the network of the tests.
func newEntra(t *testing.T, i *issuer, lifetime time.Duration) *entra.Server {
	t.Helper()
	standIn, err := entra.Listen(t.Context(), entra.ListenConfig{Address: "127.0.0.1:0"}, entra.Config{
		Roots: rootsOf(i.server), Key: keytest.RSA(t, 9), Apps: i.apps(), Lifetime: lifetime, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := standIn.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return standIn
}

// verify wants an access token of the pod's identity, by the keys that the
// stand-in publishes.
func verify(t *testing.T, standIn *entra.Server, token, resource string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	standIn.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/"+tenant+"/discovery/v2.0/keys", http.NoBody))
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(recorder.Body.Bytes(), &keys); err != nil {
		t.Fatal(err)
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Errorf("access token %q: %v", token, err)
		return
	}
	var claims jwt.Claims
	var app struct {
		ID string `json:"appid"`
	}
	if err := parsed.Claims(keys, &claims, &app); err != nil {
		t.Errorf("verifying the access token: %v", err)
		return
	}
	err = claims.Validate(jwt.Expected{Issuer: standIn.URL() + "/" + tenant + "/v2.0", AnyAudience: jwt.Audience{resource}})
	if err != nil || app.ID != client {
		t.Errorf("access token of %s for %q: %v; want one of %s for %q", app.ID, claims.Audience, err, client, resource)
	}
}
