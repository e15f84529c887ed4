package kind_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The mode with Azure, before the same API server; az is played.
func TestAzure(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "STORAGE_ACCOUNT=contoso")
	const issuer = "https://contoso.blob.core.windows.net/oidc"
	kube := m.startKube(t, issuer)
	stdout := m.good(t, "up.sh", "azure", "--yes")
	plan := regexp.MustCompile(`(?s)in the subscription "Some subscription", this makes or takes:
  resource group   issuer-sync-kind \(westeurope\)
  storage account  contoso, .*  container        oidc, .*  identity         issuer-sync-kind-sample, with no rights`)
	if !plan.MatchString(stdout) || !strings.HasSuffix(stdout, "What is in Azure stays until you delete it:\n  az group delete --name issuer-sync-kind\n") {
		t.Errorf("it does not say what it makes, and how that is deleted:\n%s", stdout)
	}
	wantInOrder(t, m.calls(t),
		"az group create --name issuer-sync-kind --location westeurope --output none",
		"az storage account create --name contoso *--allow-blob-public-access true --output none",
		"az storage container create --name oidc --account-name contoso --public-access blob --output none",
		"az identity create --name issuer-sync-kind-sample *",
		"az identity federated-credential create * --issuer "+issuer+" --subject system:serviceaccount:demo:sample --audiences api://AzureADTokenExchange --output none",
		"kind create cluster *", "kind load *", "helm upgrade *", "kubectl logs * app.kubernetes.io/name=sample *",
	)
	secret, err := kube.Client().CoreV1().Secrets("issuer-sync").Get(t.Context(), "issuer-sync-storage", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string][]byte{"AZURE_STORAGE_KEY": []byte("c2VjcmV0+key==")}, secret.Data); diff != "" {
		t.Errorf("the Secret (-want +got):\n%s", diff)
	}
	account, err := kube.Client().CoreV1().ServiceAccounts("demo").Get(t.Context(), "sample", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := account.Annotations["azure.workload.identity/client-id"], "44444444-4444-4444-4444-444444444444"; got != want {
		t.Errorf("the sample's client ID is %s; want the identity's, %s", got, want)
	}
	values := content(t, m.work, "values.yaml")
	for _, want := range []string{"azureTenantID: 33333333-3333-3333-3333-333333333333", "- url: " + issuer, `azureBlob: {url: "` + issuer + `", credential: sharedKey}`} {
		if !strings.Contains(values, want) {
			t.Errorf("the values do not have %s:\n%s", want, values)
		}
	}
	if stdout := m.good(t, "down.sh"); !strings.HasSuffix(stdout, "What is in Azure stays until you delete it:\n  az group delete --name issuer-sync-kind\n") {
		t.Errorf("down.sh wrote %q; want what stays in Azure", stdout)
	}
}

// A cluster whose tokens say something else is not taken for this mode's, and
// nothing is made in Azure for it.
func TestAClusterOfAnotherMode(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.startKube(t, issuer)
	m.good(t, "up.sh")
	m.calls(t)
	_, stderr, code := m.run(t, "up.sh", "azure", "--yes")
	want := regexp.MustCompile(`up.sh: tokens of the cluster "issuer-sync" do not say https://issuersync[0-9a-f]{12}.blob.core.windows.net/oidc: ` +
		`its discovery document is .*"` + issuer + `".*; run down.sh first, or set CLUSTER to another name\n$`)
	if code != 1 || !want.MatchString(stderr) {
		t.Errorf("exit code %d, stderr %q; want 1 and %s", code, stderr, want)
	}
	if calls := strings.Join(m.calls(t), "\n"); strings.Contains(calls, "create") {
		t.Errorf("it made something:\n%s", calls)
	}
	account := strings.TrimSpace(content(t, m.work, "storage-account"))
	if !regexp.MustCompile(`^issuersync[0-9a-f]{12}$`).MatchString(account) {
		t.Errorf("the storage account is called %q; want 24 letters and digits at most", account)
	}
}

// What was in a resource group before is not to be deleted with it; and what was
// made in another group is not forgotten.
func TestHowToDeleteIsNotForgotten(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "STORAGE_ACCOUNT=contoso")
	m.startKube(t, "https://contoso.blob.core.windows.net/oidc")
	run := func(variables ...string) {
		t.Helper()
		before := m.environment
		m.environment = append(slices.Clone(before), variables...)
		m.good(t, "up.sh", "azure", "--yes")
		m.environment = before
	}
	run("RESOURCE_GROUP=new")
	run("RESOURCE_GROUP=ours", "FAKE_GROUP=true")
	run("RESOURCE_GROUP=new", "FAKE_GROUP=true") // it is there, since we made it
	run("RESOURCE_GROUP=ours", "FAKE_GROUP=true")
	const want = `  az group delete --name new
  az identity delete --name issuer-sync-kind-sample --resource-group ours
  az storage account delete --name contoso --resource-group ours
`
	if diff := cmp.Diff(want, content(t, m.work, "azure-removal")); diff != "" {
		t.Errorf("how to delete (-want +got):\n%s", diff)
	}
}
