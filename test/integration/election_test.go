package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

// One of two replicas writes, both serve; when the leader ends, the other one
// takes over at once and publishes what is new.
func TestOneReplicaWritesAndAllServe(t *testing.T) {
	kube := servers.StartKube(t, servers.KubeConfig{})
	dir := t.TempDir()
	pub := filepath.Join(dir, "pub")
	if err := os.Mkdir(pub, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, pub, "1.pub", string(keytest.PublicPEM(t, keytest.RSA(t, 1).Public())))
	admin := kube.Kubeconfig(t)
	write(t, dir, "c.yaml", fmt.Sprintf(`
issuers:
  - url: https://x.test
    sources: [{files: {paths: [pub]}}]
    stores: [{configMap: {namespace: default, name: prod, kubeconfig: %s}}]
    interval: 1s
    verify: {disabled: true}
serve: {address: "127.0.0.1:0", linger: 0s}
admin: {address: "127.0.0.1:0"}
leaderElection: {enabled: true, namespace: default, kubeconfig: %s}
`, admin, admin))
	replicas := []*daemon{start(t, dir, "--config", "c.yaml"), start(t, dir, "--config", "c.yaml")}
	leads := func(d *daemon) bool {
		_, metrics := get(t, "http://"+d.address(t, "admin")+"/metrics")
		return strings.Contains(metrics, `issuer_sync_leads{issuer="https://x.test"} 1`)
	}
	serves := func(d *daemon, n int) bool {
		_, body := get(t, "http://"+d.address(t, "documents")+"/openid/v1/jwks")
		return strings.Contains(body, keytest.Key(t, n).ID)
	}
	for _, replica := range replicas {
		eventually(t, "each replica to serve", 20*time.Second, func() bool { return serves(replica, 1) })
	}
	leader, follower := replicas[0], replicas[1]
	eventually(t, "one leader", 20*time.Second, func() bool {
		if leads(follower) {
			leader, follower = follower, leader
		}
		return leads(leader) && !leads(follower)
	})
	if strings.Contains(follower.log.String(), "published documents") {
		t.Error("the follower wrote")
	}
	if _, page := get(t, "http://"+follower.address(t, "admin")+"/"); !strings.Contains(page, "another replica leads; this one serves what it publishes:") {
		t.Errorf("the follower's status page:\n%s", page)
	}
	if code := leader.stop(t); code != 0 {
		t.Errorf("the leader ended with %d", code)
	}
	write(t, pub, "2.pub", string(keytest.PublicPEM(t, keytest.RSA(t, 2).Public())))
	eventually(t, "the other replica to take over", 30*time.Second, func() bool { return serves(follower, 2) && leads(follower) })
}
