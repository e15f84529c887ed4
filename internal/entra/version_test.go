package entra_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/issuer-sync/issuer-sync/internal/entra"
	"github.com/issuer-sync/issuer-sync/test/cloud"
)

// TestAccessTokenOfThePublicCloud holds what Azure's Blob storage, and Azurite,
// want of an access token.
func TestAccessTokenOfThePublicCloud(t *testing.T) {
	issuer := cloud.NewIssuer(t)
	issuer.Publish(t, 1)
	credential := entra.Credential{Issuer: issuer.URL, Subject: "system:serviceaccount:default:app", Audience: "api://AzureADTokenExchange"}
	standIn, err := entra.New(entra.Config{
		URL: "https://login.microsoftonline.com", Roots: issuer.Roots(), Log: slog.New(slog.DiscardHandler),
		Apps: []entra.App{{Tenant: tenant, Client: client, Credentials: []entra.Credential{credential}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	form := "client_id=" + client + "&scope=https://storage.azure.com/.default&grant_type=client_credentials&client_assertion=" +
		cloud.Token(t, 1, cloud.Claims(credential)) + "&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, tokenPath, strings.NewReader(form))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	recorder := httptest.NewRecorder()
	standIn.ServeHTTP(recorder, request)
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	parsed, err := jwt.ParseSigned(answer.Token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatalf("%v: %s", err, recorder.Body)
	}
	var claims struct {
		Issuer  string `json:"iss"`
		Version string `json:"ver"`
	}
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil {
		t.Fatal(err)
	}
	if want := "https://sts.windows.net/" + tenant + "/"; claims.Issuer != want || claims.Version != "1.0" {
		t.Errorf("iss %q, ver %q; want %q, 1.0", claims.Issuer, claims.Version, want)
	}
}
