package servers_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func rsaKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func decodeKeys(t *testing.T, raw []byte) *jose.JSONWebKeySet {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(raw, &set); err != nil {
		t.Fatalf("decoding key set %q: %v", raw, err)
	}
	return &set
}

func dial(t *testing.T, address string) (net.Conn, error) {
	t.Helper()
	return (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
}

// get expects status 200 and returns the body.
func get(t *testing.T, client *http.Client, request *http.Request) string {
	t.Helper()
	status, body := do(t, client, request)
	if status != http.StatusOK {
		t.Fatalf("GET %s: status %d: %s", request.URL, status, body)
	}
	return body
}

func do(t *testing.T, client *http.Client, request *http.Request) (status int, body string) {
	t.Helper()
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(raw)
}
