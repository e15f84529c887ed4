package cluster_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/issuer-sync/issuer-sync/internal/cluster"
	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

const testIssuer = "https://issuer.test/with/slash/"

// origins are those of the two API servers.
func origins(kube *servers.Kube) (string, string) {
	of := ":6443 of " + kube.Servers()[0].Address()
	return "API server 10.77.0.1" + of, "API server 10.77.0.2" + of
}

// TestKube asks real API servers: two, each with a key of its own.
func TestKube(t *testing.T) {
	kube := servers.StartKube(t, servers.KubeConfig{Issuer: testIssuer, Servers: []servers.ServerConfig{
		{SigningKey: keytest.RSA(t, 1)}, {SigningKey: keytest.RSA(t, 2)},
	}})
	configured := "cluster https://" + kube.Servers()[0].Address()
	// In this order: the last ones restart a server.
	for _, test := range []struct {
		name string
		run  func(t *testing.T, kube *servers.Kube, configured string)
	}{
		{"as administrator", testAdministrator},
		{"as a bare service account", testBareServiceAccount},
		{"as a service account that may read the EndpointSlice", testPermittedServiceAccount},
		{"as nobody", testAnonymous},
		{"issuer", testIssuerIsExact},
		{"token", testToken},
		{"signing keys", testSigningKeys},
		{"signing keys without the right", testSigningWithoutRight},
		{"events", testEvents},
		{"forbidden events", testForbiddenEvents},
		{"signing keys as oneself", testSigningAsOneself},
		{"a stopped server", testStoppedServer},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, kube, configured) })
	}
}

func testAdministrator(t *testing.T, kube *servers.Kube, configured string) {
	c := newCluster(t, cluster.Config{Kubeconfig: kube.Kubeconfig(t), PerServer: true, Dial: kube.Dial}, nil)
	first, second := origins(kube)
	got := c.Observe(t.Context())
	check(t, got, []summary{{configured, ids(t, 1), ""}, {first, ids(t, 1), ""}, {second, ids(t, 2), ""}})
	if union := union(t, got); !union.Equal(keytest.Set(t, 1, 2)) {
		t.Errorf("the union is %q", union.IDs())
	}
	alone := newCluster(t, cluster.Config{Kubeconfig: kube.Kubeconfig(t), Dial: kube.Dial}, nil)
	check(t, alone.Observe(t.Context()), []summary{{configured, ids(t, 1), ""}})
}

func testBareServiceAccount(t *testing.T, kube *servers.Kube, configured string) {
	var log logged
	c := newCluster(t, cluster.Config{Kubeconfig: kube.ServiceAccountKubeconfig(t, "bare", "publisher"), PerServer: true, Dial: kube.Dial}, &log)
	for range 3 {
		check(t, c.Observe(t.Context()), []summary{{configured, ids(t, 1), ""}})
	}
	log.check(t, "INFO cannot ask each API server: no right to get EndpointSlice default/kubernetes; asking the configured address alone")
}

// The second server does not know the key that signed the account's token, so
// its keys stay hidden; that is told.
func testPermittedServiceAccount(t *testing.T, kube *servers.Kube, configured string) {
	var log logged
	path := kube.ServiceAccountKubeconfig(t, "permitted", "publisher")
	grant(t, kube, metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "publisher"}, rbacv1.PolicyRule{
		APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, ResourceNames: []string{"kubernetes"}, Verbs: []string{"get"},
	})
	c := newCluster(t, cluster.Config{Kubeconfig: path, PerServer: true, Dial: kube.Dial}, &log)
	first, second := origins(kube)
	var got []keys.Observation
	await(t, func() bool { // the authorizer learns of the role a little later
		got = c.Observe(t.Context())
		return len(got) > 1
	})
	check(t, got, []summary{{configured, ids(t, 1), ""}, {first, ids(t, 1), ""}, {second, nil, second +
		": reading the key set: answered 401 Unauthorized; want 200 OK; a service account's token may have expired, or be signed by a key that this API server does not know"}})
}

// await returns when done is true, or after 10 s.
func await(t *testing.T, done func() bool) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(10 * time.Second); !done() && time.Now().Before(deadline); {
		<-ticker.C
	}
}

// grant gives a role to the accounts "publisher" that may have one.
func grant(t *testing.T, kube *servers.Kube, role metav1.ObjectMeta, rule rbacv1.PolicyRule) {
	t.Helper()
	_, err := kube.Client().RbacV1().Roles(role.Namespace).Create(t.Context(), &rbacv1.Role{
		ObjectMeta: role, Rules: []rbacv1.PolicyRule{rule},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{ObjectMeta: role, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name}}
	for _, namespace := range []string{"permitted", "events"} {
		binding.Subjects = append(binding.Subjects, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "publisher"})
	}
	if _, err := kube.Client().RbacV1().RoleBindings(role.Namespace).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func testAnonymous(t *testing.T, kube *servers.Kube, configured string) {
	const cure = "; allow it with: kubectl create clusterrolebinding issuer-sync-discovery " +
		"--clusterrole=system:service-account-issuer-discovery --serviceaccount=NAMESPACE:NAME (or --user=NAME)"
	file := clientcmdapi.NewConfig()
	file.Clusters["a"] = &clientcmdapi.Cluster{Server: kube.Config().Host, CertificateAuthority: kube.CAFile()}
	c := newCluster(t, cluster.Config{Kubeconfig: writeKubeconfig(t, file), PerServer: true, Dial: kube.Dial}, nil)
	check(t, c.Observe(t.Context()), []summary{{configured, nil, configured + ": reading the key set: answered 403 Forbidden; want 200 OK" + cure}})
	_, err := c.Issuer(t.Context())
	if want := configured + ": reading the discovery document: answered 403 Forbidden; want 200 OK" + cure; err == nil || err.Error() != want {
		t.Errorf("got error %v\nwant      %s", err, want)
	}
}

func testIssuerIsExact(t *testing.T, kube *servers.Kube, _ string) {
	c := newCluster(t, cluster.Config{Kubeconfig: kube.ServiceAccountKubeconfig(t, "bare", "publisher"), Dial: kube.Dial}, nil)
	if got, err := c.Issuer(t.Context()); got != testIssuer || err != nil {
		t.Errorf("got %q, error %v; want %q", got, err, testIssuer)
	}
}

func testToken(t *testing.T, kube *servers.Kube, configured string) {
	const audience = "api://AzureADTokenExchange"
	c := newCluster(t, cluster.Config{Kubeconfig: kube.Kubeconfig(t), Dial: kube.Dial}, nil)
	request := cluster.TokenRequest{Namespace: "default", ServiceAccount: "default", Audiences: []string{audience}, Lifetime: 20 * time.Minute}
	token, err := c.Token(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.Claims
	if err := parsed.Claims(keytest.RSA(t, 1).Public(), &claims); err != nil {
		t.Fatal(err)
	}
	if claims.Issuer != testIssuer || claims.Subject != "system:serviceaccount:default:default" || !slices.Equal(claims.Audience, []string{audience}) {
		t.Errorf("got claims %+v", claims)
	}
	if lifetime := claims.Expiry.Time().Sub(claims.IssuedAt.Time()); lifetime != request.Lifetime {
		t.Errorf("the token lives for %v, want %v", lifetime, request.Lifetime)
	}
	request.ServiceAccount = "nobody"
	_, err = c.Token(t.Context(), request)
	want := configured + `: requesting a token of service account "default/nobody": serviceaccounts "nobody" not found`
	if err == nil || err.Error() != want || !apierrors.IsNotFound(err) {
		t.Errorf("got error %v\nwant      %s", err, want)
	}
}

func testStoppedServer(t *testing.T, kube *servers.Kube, configured string) {
	c := newCluster(t, cluster.Config{
		Kubeconfig: kube.Kubeconfig(t), PerServer: true, Dial: kube.Dial,
		ServiceAccount: types.NamespacedName{Namespace: "default", Name: "default"},
	}, nil)
	first, second := origins(kube)
	c.Observe(t.Context())
	kube.Servers()[1].Stop()
	got := c.Observe(t.Context())
	if err := got[len(got)-1].Err; err == nil {
		t.Error("no error for the stopped server")
	} else {
		got[len(got)-1].Err = errors.New("stopped")
	}
	check(t, got, []summary{{configured, ids(t, 1), ""}, {first, ids(t, 1), ""}, {second, nil, "stopped"}})
	checkKeys(t, c.SigningKeys(t.Context()), map[string]string{first: keytest.Key(t, 1).ID})
	kube.Servers()[1].Restart(t, servers.ServerConfig{SigningKey: keytest.RSA(t, 3)})
	check(t, c.Observe(t.Context()), []summary{{configured, ids(t, 1), ""}, {first, ids(t, 1), ""}, {second, ids(t, 3), ""}})
	checkKeys(t, c.SigningKeys(t.Context()), map[string]string{first: keytest.Key(t, 1).ID, second: keytest.Key(t, 3).ID})
}

// summary is an observation in short.
type summary struct {
	Origin string
	Keys   []string
	Err    string
}

func check(t *testing.T, got []keys.Observation, want []summary) {
	t.Helper()
	var short []summary
	for _, o := range got {
		s := summary{Origin: o.Origin}
		if o.Keys.Len() > 0 {
			s.Keys = o.Keys.IDs()
		}
		if o.Err != nil {
			s.Err = o.Err.Error()
		}
		short = append(short, s)
	}
	if diff := cmp.Diff(want, short); diff != "" {
		t.Error(diff)
	}
}

func ids(t *testing.T, numbers ...int) []string { t.Helper(); return keytest.Set(t, numbers...).IDs() }

func union(t *testing.T, observations []keys.Observation) keys.Set {
	t.Helper()
	sets := make([]keys.Set, len(observations))
	for i, o := range observations {
		sets[i] = o.Keys
	}
	all, err := keys.Union(sets...)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func writeKubeconfig(t *testing.T, file *clientcmdapi.Config) string {
	t.Helper()
	file.Contexts["a"] = &clientcmdapi.Context{Cluster: "a", AuthInfo: "a"}
	file.CurrentContext = "a"
	if file.AuthInfos["a"] == nil {
		file.AuthInfos["a"] = clientcmdapi.NewAuthInfo()
	}
	path := t.TempDir() + "/kubeconfig"
	if err := clientcmd.WriteToFile(*file, path); err != nil {
		t.Fatal(err)
	}
	return path
}
