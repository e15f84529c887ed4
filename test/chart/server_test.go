package chart_test

import (
	"context"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"

	"github.com/issuer-sync/issuer-sync/test/manifests"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

// cluster is a control plane without nodes.
type cluster struct {
	*servers.Kube
	mapper  meta.RESTMapper
	dynamic dynamic.Interface
	server  string // of kubeconfig
}

// newCluster starts a control plane with our namespace, under PodSecurity
// restricted.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{Kube: servers.StartKube(t, servers.KubeConfig{Issuer: issuer})}
	ours := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: map[string]string{
		"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted",
	}}}
	if _, err := c.Client().CoreV1().Namespaces().Create(t.Context(), ours, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	groups, err := restmapper.GetAPIGroupResources(discovery.NewDiscoveryClient(c.Client().Discovery().RESTClient()))
	if err != nil {
		t.Fatal(err)
	}
	c.mapper = restmapper.NewDiscoveryRESTMapper(groups)
	if c.dynamic, err = dynamic.NewForConfig(c.Config()); err != nil {
		t.Fatal(err)
	}
	c.server = c.Kubeconfig(t)
	return c
}

// helm is mustHelm against this cluster, in our namespace unless args name another.
func (c *cluster) helm(t *testing.T, args ...string) string {
	t.Helper()
	return mustHelm(t, append([]string{"--kubeconfig", c.server, "--namespace", namespace}, args...)...)
}

// dryRun has the API server take an object, a field that it does not know being a
// fault, and keep nothing.
func (c *cluster) dryRun(ctx context.Context, object *unstructured.Unstructured) error {
	kind := object.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return err
	}
	body, err := object.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = c.dynamic.Resource(mapping.Resource).Namespace(object.GetNamespace()).Patch(ctx, object.GetName(), types.ApplyPatchType, body,
		metav1.PatchOptions{FieldManager: "test", FieldValidation: metav1.FieldValidationStrict, DryRun: []string{metav1.DryRunAll}})
	return err
}

// testAccepted: a real API server takes everything that is rendered, but for the
// kinds that cert-manager and the Prometheus operator bring, which are not here.
func testAccepted(t *testing.T, c *cluster) {
	foreign := []string{"cert-manager.io", "monitoring.coreos.com"}
	for file, archive := range cases(t) {
		taken := 0
		for _, object := range manifests.Parse(t, archive.Files[1].Data) {
			if slices.Contains(foreign, object.GroupVersionKind().Group) {
				continue
			}
			taken++
			if err := c.dryRun(t.Context(), object); err != nil {
				t.Errorf("%s: %s %s: %v", file, object.GetKind(), object.GetName(), err)
			}
		}
		if taken == 0 {
			t.Errorf("%s has no objects", file)
		}
	}
}
