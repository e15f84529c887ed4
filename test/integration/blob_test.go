package integration_test

import (
	"crypto"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	oidcclient "github.com/coreos/go-oidc/v3/oidc"

	"github.com/issuer-sync/issuer-sync/internal/cluster"
	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/internal/store/azureblob"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

const audience = "api://AzureADTokenExchange"

// The way of a user who publishes a cluster to Azure Blob storage and looks at
// the result: what only a public host can pass is all that may fail.
func TestPublishThenVerify(t *testing.T) {
	azurite := servers.StartAzurite(t)
	issuer := azurite.CreateContainer(t, "oidc-prod", true)
	kube := servers.StartKube(t, servers.KubeConfig{Issuer: issuer})
	dir := t.TempDir()
	write(t, dir, "c.yaml", fmt.Sprintf(`
issuers:
  - url: %[1]s
    sources:
      - cluster: {kubeconfig: %[2]s}   # a service account without any rights of its own
    stores:
      - azureBlob: {url: "%[1]s", credential: sas, credentialFile: sas, caFile: %[3]s}
    verify: {caFile: %[3]s}
serve: {maxAge: 7m}
`, issuer, kube.ServiceAccountKubeconfig(t, "default", "issuer-sync"), azurite.CAFile()))
	write(t, dir, "sas", azurite.SAS(t, "oidc-prod"))

	if out, errs, code := run(t, dir, "publish", "--config", "c.yaml", "--dry-run"); code != 3 {
		t.Fatalf("dry run: exit code %d; want 3\n%s%s", code, out, errs)
	}
	if out, errs, code := run(t, dir, "publish", "--config", "c.yaml"); code != 0 {
		t.Fatalf("publish: exit code %d\n%s%s", code, out, errs)
	}
	out, _, code := run(t, dir, "publish", "--config", "c.yaml")
	if code != 0 || !strings.Contains(out, "up to date") {
		t.Errorf("publish again: exit code %d\n%s", code, out)
	}

	for _, document := range []string{oidc.JWKSPath, oidc.DiscoveryPath} {
		if got, want := cacheControl(t, azurite.Client(), issuer+"/"+document), "public, max-age=420"; got != want {
			t.Errorf("%s: Cache-Control %q; want %q", document, got, want)
		}
	}

	verify := []string{"verify", issuer, "--ca-file", azurite.CAFile(), "--service-account", "default/default", "--kubeconfig", kube.Kubeconfig(t)}
	if out, errs, code := run(t, dir, verify...); code != 0 {
		t.Errorf("verify: exit code %d\n%s%s", code, out, errs)
	}
	out, errs, _ := run(t, dir, append(verify, "--for", "entra,aws,gcp", "-o", "json")...)
	var report oidc.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v\n%s%s", err, out, errs)
	}
	var passed int
	for _, check := range report.Checks {
		if check.Status == oidc.Fail && !check.PublicHost {
			t.Errorf("%s", check)
		}
		if check.Status == oidc.Pass {
			passed++
		}
	}
	if passed < 25 || !slices.ContainsFunc(report.Checks, func(c oidc.Check) bool { return c.Status == oidc.Fail && c.PublicHost }) {
		t.Errorf("%d checks passed; on a loopback host clouds must fail some", passed)
	}
	t.Logf("%s", out)
}

// Two API servers in the middle of a rotation: the union is published, tokens
// of both verify against the public documents, and nothing that happens to the
// servers takes a key away.
func TestTwoAPIServers(t *testing.T) {
	azurite := servers.StartAzurite(t)
	url := azurite.CreateContainer(t, "oidc", true)
	keyA, keyB := keytest.RSA(t, 1), keytest.RSA(t, 2)
	kube := servers.StartKube(t, servers.KubeConfig{Issuer: url, Servers: []servers.ServerConfig{
		{SigningKey: keyA}, {SigningKey: keyB, PublicKeys: []crypto.PublicKey{keyA.Public()}},
	}})
	source, err := cluster.New(cluster.Config{Kubeconfig: kube.Kubeconfig(t), PerServer: true, Log: testLog(t), Dial: kube.Dial})
	if err != nil {
		t.Fatal(err)
	}
	store, err := azureblob.New(azureblob.Config{
		URL: url, Credential: azureblob.CredentialSharedKey, AccountKey: azureblob.Secret(azurite.AccountKey()), HTTPClient: azurite.Client(),
	})
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := oidc.ParseIssuer(url)
	if err != nil {
		t.Fatal(err)
	}
	p := publisher.New(publisher.Config{
		Issuer: issuer, Sources: []publisher.Source{source}, Stores: []publisher.Store{{Name: "azurite", Store: store}},
		MaxAge: oidc.DefaultMaxAge, Policy: keys.Policy{MinimumWait: time.Hour, Retention: time.Hour, Max: 50},
		Interval: time.Second, Log: testLog(t),
	})
	round := p.Round(t.Context())
	if err := round.Err(); err != nil {
		t.Fatal(err)
	}
	if want := keytest.Set(t, 1, 2).IDs(); !slices.Equal(round.IDs(), want) || len(round.Sources) != 3 {
		t.Fatalf("keys %v of %d origins; want %v of 3", round.IDs(), len(round.Sources), want)
	}
	verifyTokens := func(when string) {
		t.Helper()
		ctx := oidcclient.ClientContext(t.Context(), azurite.Client())
		provider, err := oidcclient.NewProvider(ctx, url)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		for _, server := range kube.Servers() {
			token, err := tokenOf(t, server)
			if err != nil {
				continue // stopped
			}
			if _, err := provider.VerifierContext(ctx, &oidcclient.Config{ClientID: audience}).Verify(ctx, token); err != nil {
				t.Errorf("%s: a token of %s: %v", when, server.Address(), err)
			}
		}
	}
	verifyTokens("with both servers")
	_, before, err := store.Read(t.Context(), oidc.JWKSPath)
	if err != nil {
		t.Fatal(err)
	}

	kube.Servers()[1].Stop()
	if round := p.Round(t.Context()); round.Err() == nil || len(round.Stores[0].Written) > 0 {
		t.Errorf("one server stopped: error %v, written %v; want an error and nothing", round.Err(), round.Stores[0].Written)
	}
	// Nobody may read keys any more: 403 for a user without rights.
	bare := kube.Servers()[0]
	bare.Restart(t, servers.ServerConfig{SigningKey: keyA, ExtraArgs: []string{"--authorization-mode=AlwaysDeny"}})
	if round := p.Round(t.Context()); round.Err() == nil || len(round.Stores) > 0 && len(round.Stores[0].Written) > 0 {
		t.Errorf("403 everywhere: error %v; want one and nothing written", round.Err())
	}
	_, after, err := store.Read(t.Context(), oidc.JWKSPath)
	if err != nil || after != before {
		t.Errorf("the ETag moved from %s to %s, %v", before, after, err)
	}
}
