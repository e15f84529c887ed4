//go:build linux

package sdk_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/issuer-sync/issuer-sync/internal/entra"
	"github.com/issuer-sync/issuer-sync/test/cloud"
)

const (
	tenant   = "11111111-1111-1111-1111-111111111111"
	client   = "22222222-2222-2222-2222-222222222222" // of the pod
	stranger = "33333333-3333-3333-3333-333333333333" // has no federated credential for the pod
	unknown  = "44444444-4444-4444-4444-444444444444" // is in no directory
	subject  = "system:serviceaccount:default:app"
	audience = "api://AzureADTokenExchange"
)

// issuer is a cluster's, whose tokens are made by hand. It is outside of the
// pod's network.
type issuer struct{ *cloud.Issuer }

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	return &issuer{cloud.NewIssuer(t)}
}

// publish publishes the test keys with these numbers.
func (i *issuer) publish(t *testing.T, numbers ...int) {
	t.Helper()
	i.Publish(t, numbers...)
}

// tokenByHand signs, with the n-th test key, a token that is like no other.
func (i *issuer) tokenByHand(t *testing.T, n int) string {
	t.Helper()
	claims := cloud.Claims(i.credential())
	claims.ID = time.Now().String()
	return cloud.Token(t, n, claims)
}

// credential is what the pod's tokens say.
func (i *issuer) credential() entra.Credential {
	return entra.Credential{Issuer: i.URL, Subject: subject, Audience: audience}
}

// apps are the applications that Entra's stand-in knows.
func (i *issuer) apps() []entra.App {
	other := i.credential()
	other.Subject = "system:serviceaccount:default:other"
	return []entra.App{
		{Tenant: tenant, Client: client, Credentials: []entra.Credential{i.credential()}},
		{Tenant: tenant, Client: stranger, Credentials: []entra.Credential{other}},
	}
}

// newEntra serves Entra's stand-in in the pod's network until the test ends. It
// fetches from the issuer through the network of the tests.
func newEntra(t *testing.T, i *issuer, lifetime time.Duration) *entra.Server {
	t.Helper()
	return cloud.Entra(t, entra.Config{Roots: rootsOf(i.Server), Apps: i.apps(), Lifetime: lifetime})
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
