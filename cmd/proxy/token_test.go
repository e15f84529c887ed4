package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/entra"
)

// askOnce runs proxy token with an environment of its own.
func askOnce(t *testing.T, environment []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "proxy", append([]string{"token"}, args...)...)
	var out, said strings.Builder
	cmd.Env, cmd.Stdout, cmd.Stderr = environment, &out, &said
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), said.String(), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), said.String(), 0
}

func TestToken(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	stdout, stderr, code := askOnce(t, c.environment(), "--resource", "https://vault.azure.net/")
	want := regexp.MustCompile(`^Got an access token. It is not shown.
  tenant    ` + tenant + `
  client    ` + client + `
  resource  https://vault.azure.net/
  expires   20[-0-9]+T[0-9:]+Z, in (1h0m0|59m5[0-9])s
  asked     ` + c.entra.URL() + `/
$`)
	if code != 0 || stderr != "" || !want.MatchString(stdout) {
		t.Errorf("exit code %d, stderr %q, stdout %q; want 0, none and %s", code, stderr, stdout, want)
	}

	stdout, stderr, code = askOnce(t, c.environment(), "-o", "json")
	var g got
	if err := json.Unmarshal([]byte(stdout), &g); err != nil {
		t.Errorf("reading %q: %v", stdout, err)
	}
	if left := time.Until(g.Expires); code != 0 || stderr != "" || left < 50*time.Minute || left > time.Hour {
		t.Errorf("exit code %d, stderr %q, %s left; want 0, none and an hour", code, stderr, left)
	}
	g.Expires = time.Time{}
	if want := (got{Tenant: tenant, Client: client, Resource: "https://management.azure.com", Asked: c.entra.URL() + "/"}); g != want {
		t.Errorf("got %+v; want %+v", g, want)
	}
}

func TestTokenAtACustomEndpoint(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	stdout, stderr, code := askOnce(t, c.environment(
		"SSL_CERT_FILE=/nonexistent", "AZURE_AUTHORITY_HOST=",
		"AZURE_KUBERNETES_TOKEN_PROXY="+c.entra.URL(), "AZURE_KUBERNETES_CA_FILE="+c.caFile))
	if code != 0 || !strings.Contains(stdout, "  asked     "+c.entra.URL()+"\n") {
		t.Errorf("exit code %d, stdout %q, stderr %q; want that the endpoint was asked", code, stdout, stderr)
	}
}

// A refusal has Entra's code, its cause and its cure; and like everything that
// is told, nothing of the token.
func TestTokenIsRefused(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	for name, test := range map[string]struct {
		variable string
		want     string
	}{
		"another client": {"AZURE_CLIENT_ID=" + other, `^proxy token: asking ` + c.entra.URL() + `/ for an access token: refused by Entra: .*AADSTS700016: the tenant has no application with this client ID; compare `},
		"no token file":  {"AZURE_FEDERATED_TOKEN_FILE=/nonexistent", `^proxy token: asking .* for an access token: no usable token: .*"/nonexistent"`},
		"nobody there":   {"AZURE_AUTHORITY_HOST=https://127.0.0.1:1/", `(?m)^proxy token: asking https://127.0.0.1:1/ for an access token: no answer from Entra: `},
		"no trust":       {"SSL_CERT_FILE=/nonexistent", `(?m)^proxy token: asking .*certificate signed by unknown authority`},
	} {
		stdout, stderr, code := askOnce(t, c.environment(test.variable))
		if code != 1 || stdout != "" || !regexp.MustCompile(test.want).MatchString(stderr) {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q; want 1, none and %s", name, code, stdout, stderr, test.want)
		}
	}
}

func TestTokenIsNeverShown(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.entra.Disturb(func(n int) entra.Fault {
		if n == 1 {
			return entra.Fault{Status: 503} // so that stderr says something
		}
		return entra.Fault{}
	})
	stdout, stderr, code := askOnce(t, c.environment())
	if code != 0 || !strings.Contains(stderr, "exchange did not succeed, trying again") {
		t.Errorf("exit code %d, stderr %q; want 0, and that it was tried again", code, stderr)
	}
	content, err := os.ReadFile(c.tokenFile)
	if err != nil {
		t.Fatal(err)
	}
	for part := range strings.SplitSeq(string(content), ".") {
		if strings.Contains(stdout+stderr, part) {
			t.Errorf("a part of the projected token is in %q or %q", stdout, stderr)
		}
	}
	if strings.Contains(stdout+stderr, "eyJ") { // the beginning of every JWT
		t.Errorf("a token is in %q or %q", stdout, stderr)
	}
}
