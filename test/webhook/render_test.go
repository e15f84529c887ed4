package webhook_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/issuer-sync/issuer-sync/test/manifests"
)

// root is the project's tree.
const root = "../.."

// What the installer says, who has a kustomization of their own.
const (
	tenantID   = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
	proxyImage = "registry.example/proxy:v1"
)

// render returns the objects of a folder of deploy/ with the installer's
// settings, NAME=VALUE, in the order in which they are to be applied.
func render(t *testing.T, folder string, settings ...string) []*unstructured.Unstructured {
	t.Helper()
	return manifests.Webhook(t, root, folder, append([]string{"AZURE_TENANT_ID=" + tenantID, "PROXY_IMAGE=" + proxyImage}, settings...)...)
}
