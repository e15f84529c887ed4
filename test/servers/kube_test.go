package servers_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/issuer-sync/issuer-sync/test/servers"
)

const entraAudience = "api://AzureADTokenExchange"

func TestKube(t *testing.T) {
	start := time.Now()
	kube := servers.StartKube(t, servers.KubeConfig{})
	t.Logf("control plane ready after %v", time.Since(start).Round(time.Millisecond))

	t.Run("names its CA", func(t *testing.T) {
		if raw, err := os.ReadFile(kube.CAFile()); err != nil || !x509.NewCertPool().AppendCertsFromPEM(raw) {
			t.Errorf("CA file %q: %q, %v", kube.CAFile(), raw, err)
		}
	})
	t.Run("is version 1.36.3", func(t *testing.T) {
		version, err := kube.Client().Discovery().ServerVersion()
		if err != nil || version.GitVersion != "v1.36.3" {
			t.Errorf("version %+v, %v; want v1.36.3", version, err)
		}
	})
	t.Run("has the default ServiceAccount", func(t *testing.T) {
		_, err := kube.Client().CoreV1().ServiceAccounts("default").Get(t.Context(), "default", metav1.GetOptions{})
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("signs tokens with issuer and audience", func(t *testing.T) { testToken(t, kube) })
	t.Run("gives a service account discovery and nothing else", func(t *testing.T) {
		testBareAccount(t, kube.ServiceAccount(t, "team", "bare"))
	})
	t.Run("writes kubeconfigs that work", func(t *testing.T) { testKubeconfigs(t, kube) })
	t.Run("refuses to dial what it does not publish", func(t *testing.T) { testDialRefusal(t, kube) })
	t.Run("refuses connections while stopped", func(t *testing.T) { testStop(t, kube) })
}

func testToken(t *testing.T, kube *servers.Kube) {
	token := requestToken(t, kube.Client(), entraAudience)
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.Claims
	if err := parsed.Claims(fetchKeys(t, kube.Config()), &claims); err != nil {
		t.Fatalf("verifying with the server's own keys: %v", err)
	}
	want := jwt.Claims{Issuer: servers.DefaultIssuer, Audience: jwt.Audience{entraAudience}, Subject: "system:serviceaccount:default:default"}
	if diff := cmp.Diff(want, jwt.Claims{Issuer: claims.Issuer, Audience: claims.Audience, Subject: claims.Subject}); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
}

func testBareAccount(t *testing.T, config *rest.Config) {
	client := newClient(t, config)
	raw, err := client.Discovery().RESTClient().Get().AbsPath("/.well-known/openid-configuration").DoRaw(t.Context())
	if err != nil || !strings.Contains(string(raw), `"issuer":"`+servers.DefaultIssuer+`"`) {
		t.Errorf("discovery document %q, %v", raw, err)
	}
	if got := len(fetchKeys(t, config).Keys); got != 1 {
		t.Errorf("%d keys; want 1", got)
	}
	_, err = client.DiscoveryV1().EndpointSlices("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("reading an EndpointSlice: %v; want forbidden", err)
	}
}

func testKubeconfigs(t *testing.T, kube *servers.Kube) {
	for file, want := range map[string]string{
		kube.Kubeconfig(t): "test-admin",
		kube.ServiceAccountKubeconfig(t, "team", "filed"): "system:serviceaccount:team:filed",
	} {
		config, err := clientcmd.BuildConfigFromFlags("", file)
		if err != nil {
			t.Fatal(err)
		}
		review, err := newClient(t, config).AuthenticationV1().SelfSubjectReviews().
			Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil || review.Status.UserInfo.Username != want {
			t.Errorf("user %q, %v; want %q", review.Status.UserInfo.Username, err, want)
		}
	}
}

func testDialRefusal(t *testing.T, kube *servers.Kube) {
	for _, address := range []string{"10.77.0.2:6443", "10.77.0.1:443", "192.0.2.1:6443"} {
		connection, err := kube.Dial(t.Context(), "tcp", address)
		if err == nil {
			_ = connection.Close()
		}
		want := `dialing tcp "` + address + `": no API server of this test publishes this address`
		if err == nil || err.Error() != want {
			t.Errorf("error %v; want %s", err, want)
		}
	}
}

func testStop(t *testing.T, kube *servers.Kube) {
	server := kube.Servers()[0]
	address := server.Address()
	server.Stop()
	if connection, err := dial(t, address); err == nil {
		_ = connection.Close()
		t.Error("a stopped server takes connections")
	}
	server.Start(t)
	if server.Address() != address {
		t.Errorf("address %s; want %s", server.Address(), address)
	}
	if _, err := newClient(t, server.Config()).CoreV1().ServiceAccounts("team").Get(t.Context(), "bare", metav1.GetOptions{}); err != nil {
		t.Errorf("the data did not outlive the stop: %v", err)
	}
}

func TestKubeWithSeveralServers(t *testing.T) {
	keys := []*rsa.PrivateKey{rsaKey(t), rsaKey(t)}
	const oldIssuer, newIssuer = "https://old.example.test", "https://new.example.test/cluster"
	start := time.Now()
	kube := servers.StartKube(t, servers.KubeConfig{
		Issuer: oldIssuer,
		Servers: []servers.ServerConfig{
			{SigningKey: keys[0]},
			{
				SigningKey: keys[1],
				PublicKeys: []crypto.PublicKey{keys[0].Public()},
				ExtraArgs:  []string{"--service-account-jwks-uri=https://keys.example.test/jwks"},
			},
		},
	})
	t.Logf("two API servers ready after %v", time.Since(start).Round(time.Millisecond))

	t.Run("each serves its own keys", func(t *testing.T) {
		checkKeys(t, kube.Servers()[0].Config(), keys[0].Public())
		checkKeys(t, kube.Servers()[1].Config(), keys[1].Public(), keys[0].Public())
	})
	t.Run("takes extra arguments", func(t *testing.T) {
		client := newClient(t, kube.Servers()[1].Config())
		raw, err := client.Discovery().RESTClient().Get().AbsPath("/.well-known/openid-configuration").DoRaw(t.Context())
		if err != nil || !strings.Contains(string(raw), `"jwks_uri":"https://keys.example.test/jwks"`) {
			t.Errorf("discovery document %q, %v", raw, err)
		}
	})
	t.Run("all are published and dialled there", func(t *testing.T) { testPublished(t, kube, keys) })
	t.Run("one restarts with another key and issuer", func(t *testing.T) {
		next, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		server := kube.Servers()[1]
		before := requestToken(t, newClient(t, server.Config()), entraAudience)
		server.Restart(t, servers.ServerConfig{
			Issuers:    []string{newIssuer, oldIssuer},
			SigningKey: next,
			PublicKeys: []crypto.PublicKey{keys[1].Public()},
		})
		after := requestToken(t, newClient(t, server.Config()), entraAudience)
		checkKeys(t, server.Config(), next.Public(), keys[1].Public())
		for token, want := range map[string]string{before: oldIssuer, after: newIssuer} {
			var claims jwt.Claims
			parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
			if err != nil {
				t.Fatal(err)
			}
			if err := parsed.Claims(fetchKeys(t, server.Config()), &claims); err != nil || claims.Issuer != want {
				t.Errorf("token of issuer %q, %v; want %q", claims.Issuer, err, want)
			}
		}
	})
}

// testPublished reaches every server as a pod would: by the addresses in the
// EndpointSlice and a name in the servers' certificate.
func testPublished(t *testing.T, kube *servers.Kube, keys []*rsa.PrivateKey) {
	slice, err := kube.Client().DiscoveryV1().EndpointSlices("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if slice.Labels["kubernetes.io/service-name"] != "kubernetes" || len(slice.Endpoints) != 2 || *slice.Ports[0].Port != 6443 {
		t.Fatalf("EndpointSlice %+v", slice)
	}
	for i, endpoint := range slice.Endpoints {
		config := kube.Config()
		config.Host = "https://" + net.JoinHostPort(endpoint.Addresses[0], "6443")
		config.ServerName = "kubernetes.default.svc"
		config.Dial = kube.Dial
		if got := fetchKeys(t, config).Keys[0]; !keys[i].PublicKey.Equal(got.Key) {
			t.Errorf("address %s leads to another server", endpoint.Addresses[0])
		}
	}
}

func checkKeys(t *testing.T, config *rest.Config, want ...crypto.PublicKey) {
	t.Helper()
	var got []crypto.PublicKey
	for _, key := range fetchKeys(t, config).Keys {
		got = append(got, key.Key)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys of %s (-want +got):\n%s", config.Host, diff)
	}
}

func fetchKeys(t *testing.T, config *rest.Config) *jose.JSONWebKeySet {
	t.Helper()
	raw, err := newClient(t, config).Discovery().RESTClient().Get().AbsPath("/openid/v1/jwks").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return decodeKeys(t, raw)
}

func requestToken(t *testing.T, client kubernetes.Interface, audience string) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}}}
	answer, err := client.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Status.Token
}

func newClient(t *testing.T, config *rest.Config) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}
