package deploy_test

import (
	"encoding/base64"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/issuer-sync/issuer-sync/test/program"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

// TestChangeOfIssuer goes through the steps of the guide with two API servers
// that run with the issuers which kubeadm gives them. At each step it looks
// which issuer each server signs with, and whether each accepts every token
// that is still about, those of the other server too.
func TestChangeOfIssuer(t *testing.T) {
	t.Parallel()
	c := newChange(t, 2)
	accept, sign, drop := c.issuers(t, "step 1"), c.issuers(t, "step 2"), c.issuers(t, "step 3")
	old := c.tokens(t, oldIssuer, oldIssuer)

	// The guide says that step 1 may be left out with one server, and why not with more.
	c.restart(t, 0, sign)
	early := c.tokens(t, newIssuer, oldIssuer)[:1]
	c.accepts(t, "step 2 without step 1", append(early, old...), 0)
	c.refuses(t, "step 2 without step 1", early, 1)

	c.restart(t, 0, accept)
	c.accepts(t, "between the nodes of step 1", old, 0, 1)
	c.restart(t, 1, accept)
	old = append(old, c.tokens(t, oldIssuer, oldIssuer)...)
	c.accepts(t, "after step 1", old, 0, 1)

	c.restart(t, 0, sign)
	young := c.tokens(t, newIssuer, oldIssuer)
	c.accepts(t, "between the nodes of step 2", append(old, young...), 0, 1)
	c.restart(t, 1, sign)
	young = append(young[:1], c.tokens(t, newIssuer, newIssuer)...)
	c.accepts(t, "after step 2", append(old, young...), 0, 1)

	c.restart(t, 0, accept)
	c.accepts(t, "on the way back from step 2", append(old, young...), 0, 1)
	c.restart(t, 0, sign)

	c.restart(t, 0, drop)
	c.accepts(t, "between the nodes of step 3", young, 0, 1)
	c.refuses(t, "after step 3", old, 0)
	c.restart(t, 0, sign)
	c.accepts(t, "on the way back from step 3", append(old, young...), 0, 1)
}

// TestChangeOfIssuerInStatus has issuer-sync say what the guide says it does.
func TestChangeOfIssuerInStatus(t *testing.T) {
	t.Parallel()
	c := newChange(t, 1)
	config := write(t, "issuer-sync.yaml", `issuers:
- url: `+newIssuer+`
  sources: [{cluster: {kubeconfig: `+c.kube.Kubeconfig(t)+`, perServer: false, serviceAccount: default/default}}]
  stores: [{directory: {path: `+t.TempDir()+`}}]
  verify: {disabled: true}
leaderElection: {enabled: "false"}
`)
	const warning = `the cluster signs tokens as issuer "` + oldIssuer + `", not "` + newIssuer + `"`
	for _, s := range []struct {
		step           string
		warning, alarm bool
	}{{"step 1", true, false}, {"step 2", false, false}, {"step 1", false, true}} {
		c.restart(t, 0, c.issuers(t, s.step))
		if _, err := issuerSync(t, "publish", "--config", config); (err != nil) != s.alarm {
			t.Errorf("publish in %s: %v; want an error: %v", s.step, err, s.alarm)
		}
		out, err := issuerSync(t, "status", "--config", config)
		if err != nil {
			t.Errorf("status in %s: %v", s.step, err)
		}
		if got := strings.Contains(out, warning); got != (s.warning || s.alarm) {
			t.Errorf("status in %s has the warning: %v; want %v:\n%s", s.step, got, s.warning, out)
		}
		if got := strings.Contains(out, "ALARM   issuer-drift"); got != s.alarm {
			t.Errorf("status in %s has the alarm: %v; want %v:\n%s", s.step, got, s.alarm, out)
		}
	}
}

// TestKubeadmConfigMap writes the configuration of a step to a cluster and reads
// it again with the guide's commands: kubeadm upgrade takes it from there.
func TestKubeadmConfigMap(t *testing.T) {
	t.Parallel()
	kubeconfig := servers.StartKube(t, servers.KubeConfig{}).Kubeconfig(t)
	step1 := named(t, "step 1").text
	kubeadm(t, nil, "init", "phase", "upload-config", "kubeadm", "--kubeconfig", kubeconfig,
		"--config", write(t, "node.yaml", initConfiguration("")+clusterConfiguration(t, step1)))
	read := exec.CommandContext(t.Context(), kubeServers(t), "kubectl", "--kubeconfig", kubeconfig,
		"-n", "kube-system", "get", "configmap", "kubeadm-config", "-o", "jsonpath={.data.ClusterConfiguration}")
	stored, err := read.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := values(manifest(t, initConfiguration("")+string(stored)), "service-account-issuer")
	if diff := cmp.Diff([]string{oldIssuer, newIssuer}, got); diff != "" {
		t.Errorf("issuers from what the cluster keeps (-want +got):\n%s\n%s", diff, stored)
	}
}

// issuerSync runs the program and returns what it prints, and how it ended.
func issuerSync(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program.Build(t, "cmd/issuer-sync"), args...).CombinedOutput()
	return string(out), err
}

// change is API servers and their clients.
type change struct {
	kube    *servers.Kube
	servers []*servers.APIServer
	clients []kubernetes.Interface
}

func newChange(t *testing.T, count int) change {
	t.Helper()
	c := change{kube: servers.StartKube(t, servers.KubeConfig{Issuer: oldIssuer, Servers: make([]servers.ServerConfig, count)})}
	c.servers = c.kube.Servers()
	for _, server := range c.servers {
		client, err := kubernetes.NewForConfig(server.Config())
		if err != nil {
			t.Fatal(err)
		}
		c.clients = append(c.clients, client)
	}
	return c
}

// issuers are those of the manifest that kubeadm writes for a step of the guide.
func (c change) issuers(t *testing.T, step string) []string {
	t.Helper()
	return values(manifest(t, initConfiguration("")+clusterConfiguration(t, named(t, step).text)), "service-account-issuer")
}

func (c change) restart(t *testing.T, server int, issuers []string) {
	t.Helper()
	c.servers[server].Restart(t, servers.ServerConfig{Issuers: issuers})
}

// tokens returns one token of each server and wants them to have these issuers.
func (c change) tokens(t *testing.T, issuers ...string) (all []string) {
	t.Helper()
	for i, client := range c.clients {
		request := &authenticationv1.TokenRequest{}
		made, err := client.CoreV1().ServiceAccounts(corev1.NamespaceDefault).CreateToken(t.Context(), "default", request, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, made.Status.Token)
		if got := issuerOf(t, made.Status.Token); got != issuers[i] {
			t.Errorf("server %d signs as %q; want %q", i, got, issuers[i])
		}
	}
	return all
}

func issuerOf(t *testing.T, token string) string {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims.Issuer
}

func (c change) accepts(t *testing.T, when string, tokens []string, servers ...int) {
	t.Helper()
	c.review(t, when, true, tokens, servers)
}

func (c change) refuses(t *testing.T, when string, tokens []string, servers ...int) {
	t.Helper()
	c.review(t, when, false, tokens, servers)
}

func (c change) review(t *testing.T, when string, want bool, tokens []string, servers []int) {
	t.Helper()
	for _, i := range servers {
		for _, token := range tokens {
			review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
			reviewed, err := c.clients[i].AuthenticationV1().TokenReviews().Create(t.Context(), review, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if reviewed.Status.Authenticated != want {
				t.Errorf("%s: server %d accepts a token of %q: %v; want %v: %s",
					when, i, issuerOf(t, token), !want, want, reviewed.Status.Error)
			}
		}
	}
}
