package configmap_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/issuer-sync/issuer-sync/internal/cluster"
	"github.com/issuer-sync/issuer-sync/internal/store/configmap"
	"github.com/issuer-sync/issuer-sync/internal/store/storetest"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

func open(t *testing.T, config *rest.Config, name types.NamespacedName, wrap storetest.Wrap) *configmap.Store {
	t.Helper()
	config = rest.CopyConfig(config)
	config.QPS = -1 // no limit of the client's own: the server is the test's
	if wrap != nil {
		config.Wrap(func(next http.RoundTripper) http.RoundTripper { return wrap(next) })
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return configmap.New(client.CoreV1().RESTClient(), name)
}

// TestStore is one test, as the API server takes seconds to start.
func TestStore(t *testing.T) {
	kube := servers.StartKube(t, servers.KubeConfig{})
	var made atomic.Int32
	fresh := func(*testing.T) storetest.Open {
		name := types.NamespacedName{Namespace: "default", Name: fmt.Sprintf("issuer-%d", made.Add(1))}
		return func(t *testing.T, wrap storetest.Wrap) oidc.Store { return open(t, kube.Config(), name, wrap) }
	}
	t.Run("conformance", func(t *testing.T) { storetest.Run(t, fresh) })
	t.Run("faults", func(t *testing.T) { storetest.RunFaults(t, fresh) })
	t.Run("the client that the program uses will do", func(t *testing.T) { testCluster(t, kube) })
	t.Run("what others put in the ConfigMap stays", func(t *testing.T) { testForeign(t, kube) })
	t.Run("a creation loses to a write of another object", func(t *testing.T) { testOtherObject(t, kube) })
	t.Run("a ConfigMap that was deleted conflicts", func(t *testing.T) { testDeleted(t, kube) })
	t.Run("a missing right is named, and what is named suffices", func(t *testing.T) { testRights(t, kube) })
	t.Run("refusals say what would be valid", func(t *testing.T) { testRefusals(t, kube) })
}

// testCluster is about a client that knows few kinds and paths. It is limited
// to five requests a second after the first ten, too few for the whole suite.
func testCluster(t *testing.T, kube *servers.Kube) {
	reached, err := cluster.New(cluster.Config{Kubeconfig: kube.Kubeconfig(t), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := configmap.New(reached.Client(), types.NamespacedName{Namespace: "default", Name: "of-cluster"})
	if _, _, err := s.Read(t.Context(), oidc.JWKSPath); !errors.Is(err, oidc.ErrNotFound) {
		t.Errorf("got error %v, want %v", err, oidc.ErrNotFound)
	}
	first := mustWrite(t, s, oidc.JWKSPath, "first", "")
	second := mustWrite(t, s, oidc.JWKSPath, "second", first)
	if err := write(t, s, oidc.JWKSPath, "third", first); !errors.Is(err, oidc.ErrConflict) {
		t.Errorf("got error %v, want %v", err, oidc.ErrConflict)
	}
	object, version, err := s.Read(t.Context(), oidc.JWKSPath)
	if err != nil || string(object.Body) != "second" || version != second {
		t.Errorf("got %q, version %q and error %v, want %q, version %q", object.Body, version, err, "second", second)
	}
}

func testForeign(t *testing.T, kube *servers.Kube) {
	name := types.NamespacedName{Namespace: "default", Name: "foreign"}
	configMaps := kube.Client().CoreV1().ConfigMaps(name.Namespace)
	foreign := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name.Name,
			Labels:      map[string]string{"theirs": "label"},
			Annotations: map[string]string{"theirs": "annotation"},
		},
		Data:       map[string]string{"theirs": "text"},
		BinaryData: map[string][]byte{"theirs.bin": {0xff}},
	}
	before, err := configMaps.Create(t.Context(), foreign, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, kube.Config(), name, nil)
	version := mustWrite(t, s, oidc.JWKSPath, "first", "")
	mustWrite(t, s, oidc.JWKSPath, "second", version)

	after, err := configMaps.Get(t.Context(), name.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const annotation = "issuer-sync.github.io/write"
	if after.Annotations[annotation] == "" {
		t.Errorf("annotation %s is missing", annotation)
	}
	delete(after.Annotations, annotation)
	want := before.DeepCopy()
	want.Data["openid_v1_jwks"] = "second"
	want.ResourceVersion, want.ManagedFields = after.ResourceVersion, after.ManagedFields
	if diff := cmp.Diff(want, after); diff != "" {
		t.Errorf("the ConfigMap after two writes (-want +got):\n%s", diff)
	}
}

func testOtherObject(t *testing.T, kube *servers.Kube) {
	name := types.NamespacedName{Namespace: "default", Name: "other-object"}
	other := open(t, kube.Config(), name, nil)
	state := mustWrite(t, other, ".issuer-sync/state.json", "{}", "")
	var faults storetest.Faults
	s := open(t, kube.Config(), name, faults.Wrap)
	race := func(next http.RoundTripper, req *http.Request) (*http.Response, error) {
		state = mustWrite(t, other, ".issuer-sync/state.json", `{"moved":true}`, state)
		return next.RoundTrip(req)
	}
	faults.During(t, storetest.Writes, race, func() {
		wantError(t, write(t, s, oidc.JWKSPath, "made from the old state", ""),
			`writing "openid/v1/jwks" in ConfigMap default/other-object: the object was changed by another writer`)
	})
	if _, version, err := other.Read(t.Context(), ".issuer-sync/state.json"); err != nil || version != state {
		t.Errorf("the state has version %q and error %v, want version %q", version, err, state)
	}
}

func testDeleted(t *testing.T, kube *servers.Kube) {
	name := types.NamespacedName{Namespace: "default", Name: "deleted"}
	s := open(t, kube.Config(), name, nil)
	version := mustWrite(t, s, oidc.JWKSPath, "{}", "")
	err := kube.Client().CoreV1().ConfigMaps(name.Namespace).Delete(t.Context(), name.Name, metav1.DeleteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const conflict = `writing "openid/v1/jwks" in ConfigMap default/deleted: the object was changed by another writer`
	wantError(t, write(t, s, oidc.JWKSPath, "{}", version), conflict)
	mustWrite(t, s, oidc.JWKSPath, "{}", "")
	wantError(t, write(t, s, oidc.JWKSPath, "{}", version), conflict)
}

const (
	forbidden = `configmaps "rights" is forbidden: User "system:serviceaccount:default:publisher" cannot %s resource "configmaps" in API group "" in the namespace "default"`
	needWrite = `: allow it with a Role in namespace "default" that has the rule {apiGroups: [""], resources: [configmaps], resourceNames: ["rights"], verbs: [get, patch]}`
	needMake  = `: create the ConfigMap beforehand, or allow it with a Role in namespace "default" that has the rule {apiGroups: [""], resources: [configmaps], verbs: [create]}`
)

func testRights(t *testing.T, kube *servers.Kube) {
	name := types.NamespacedName{Namespace: "default", Name: "rights"}
	s := open(t, kube.ServiceAccount(t, "default", "publisher"), name, nil)
	_, _, err := s.Read(t.Context(), oidc.JWKSPath)
	wantError(t, err, `reading "openid/v1/jwks" in ConfigMap default/rights: `+fmt.Sprintf(forbidden, "get")+needWrite)
	wantError(t, write(t, s, oidc.JWKSPath, "{}", "1"),
		`writing "openid/v1/jwks" in ConfigMap default/rights: `+fmt.Sprintf(forbidden, "patch")+needWrite)

	rule := rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"}}
	rule.ResourceNames, rule.Verbs = []string{"rights"}, []string{"get", "patch"}
	allow(t, kube, "write", rule)
	await(t, func() error {
		_, _, err := s.Read(t.Context(), oidc.JWKSPath)
		return err
	}, oidc.ErrNotFound.Error())
	wantError(t, write(t, s, oidc.JWKSPath, "{}", ""), `writing "openid/v1/jwks" in ConfigMap default/rights: `+
		strings.Replace(fmt.Sprintf(forbidden, "create"), `configmaps "rights" is`, "configmaps is", 1)+needMake)

	rule.ResourceNames, rule.Verbs = nil, []string{"create"}
	allow(t, kube, "create", rule)
	await(t, func() error { return write(t, s, oidc.JWKSPath, "{}", "") }, "")
	_, version, err := s.Read(t.Context(), oidc.JWKSPath)
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, s, oidc.JWKSPath, "{}", version)
}

// allow grants one rule to the service account default/publisher.
func allow(t *testing.T, kube *servers.Kube, name string, rule rbacv1.PolicyRule) {
	t.Helper()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: []rbacv1.PolicyRule{rule}}
	if _, err := kube.Client().RbacV1().Roles("default").Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: name},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "default", Name: "publisher"}},
	}
	if _, err := kube.Client().RbacV1().RoleBindings("default").Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// await repeats act until its error ends in want ("" for none): the API server
// learns of a new Role by a watch, within milliseconds.
func await(t *testing.T, act func() error, want string) {
	t.Helper()
	var err error
	for range 500 {
		if err = act(); err == nil && want == "" || err != nil && want != "" && strings.HasSuffix(err.Error(), want) {
			return
		}
	}
	t.Fatalf("got error %v, want %q", err, want)
}

func testRefusals(t *testing.T, kube *servers.Kube) {
	s := open(t, kube.Config(), types.NamespacedName{Namespace: "default", Name: "refusals"}, nil)
	wantError(t, write(t, s, "open_id/jwks", "{}", ""),
		`writing "open_id/jwks" in ConfigMap default/refusals: object path "open_id/jwks": "_" is not possible in a ConfigMap, where it stands for "/"`)
	wantError(t, write(t, s, oidc.JWKSPath, "\xff", ""),
		`writing "openid/v1/jwks" in ConfigMap default/refusals: the object is not UTF-8, which the data of a ConfigMap must be`)

	large := strings.Repeat("x", 600<<10)
	version := mustWrite(t, s, oidc.JWKSPath, large, "")
	err := write(t, s, oidc.DiscoveryPath, large, "")
	const tooLarge = ": the objects in one ConfigMap must stay below 1 MiB together"
	if err == nil || !strings.HasSuffix(err.Error(), tooLarge) {
		t.Errorf("got error %v, want one that ends in %q", err, tooLarge)
	}
	if _, got, err := s.Read(t.Context(), oidc.JWKSPath); err != nil || got != version {
		t.Errorf("got version %q and error %v, want version %q", got, err, version)
	}

	lost := open(t, kube.Config(), types.NamespacedName{Namespace: "missing", Name: "refusals"}, nil)
	wantError(t, write(t, lost, oidc.JWKSPath, "{}", ""),
		`writing "openid/v1/jwks" in ConfigMap missing/refusals: namespaces "missing" not found: the namespace must exist`)
}

func write(t *testing.T, s *configmap.Store, path, body string, base oidc.Version) error {
	t.Helper()
	_, err := s.Write(t.Context(), oidc.Object{Path: path, Body: []byte(body)}, base)
	return err
}

func mustWrite(t *testing.T, s *configmap.Store, path, body string, base oidc.Version) oidc.Version {
	t.Helper()
	version, err := s.Write(t.Context(), oidc.Object{Path: path, Body: []byte(body)}, base)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("got error\n\t%v\nwant\n\t%s", err, want)
	}
}
