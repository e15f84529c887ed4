package lease_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/issuer-sync/issuer-sync/internal/cluster"
	"github.com/issuer-sync/issuer-sync/internal/lease"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

// TestKube is one test, as the API server takes seconds to start.
func TestKube(t *testing.T) {
	kube := servers.StartKube(t, servers.KubeConfig{})
	t.Run("one of two takes over when the other one ends", func(t *testing.T) { testTakeover(t, kube) })
	t.Run("a missing right is named, and what is named suffices", func(t *testing.T) { testRights(t, kube) })
}

// standKube is stand at a real API server, with the client that the program
// uses. What Changed and the log are told comes through the channels.
func standKube(t *testing.T, kubeconfig, name, identity string) (c *candidate, changes <-chan bool) {
	t.Helper()
	c = &candidate{done: make(chan struct{})}
	reached, err := cluster.New(cluster.Config{Kubeconfig: kubeconfig, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan bool, 10)
	c.Elector = lease.New(lease.Config{
		Client: reached.Client(), Name: types.NamespacedName{Namespace: "default", Name: name},
		Identity: identity, Log: slog.New(c), Changed: func(leads bool) { told <- leads },
	})
	c.run(t)
	return c, told
}

func await(t *testing.T, changes <-chan bool, want bool) {
	t.Helper()
	select {
	case got := <-changes:
		if got != want {
			t.Fatalf("leads: %v, want %v", got, want)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("waited 30 s for leads: %v", want)
	}
}

func read(t *testing.T, kube *servers.Kube, name string) *coordinationv1.Lease {
	t.Helper()
	found, err := kube.Client().CoordinationV1().Leases("default").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func testTakeover(t *testing.T, kube *servers.Kube) {
	const name = "takeover"
	a, changesOfA := standKube(t, kube.Kubeconfig(t), name, "a")
	await(t, changesOfA, true)
	b, changesOfB := standKube(t, kube.Kubeconfig(t), name, "b")
	checkKube(t, read(t, kube, name), "a", 0)
	first := read(t, kube, name).Spec
	for renewals := 0; renewals < 2; {
		if next := read(t, kube, name).Spec; !next.RenewTime.Equal(first.RenewTime) {
			if !next.AcquireTime.Equal(first.AcquireTime) {
				t.Fatalf("a renewal moved acquireTime from %v to %v", first.AcquireTime, next.AcquireTime)
			}
			first = next
			renewals++
		}
		time.Sleep(100 * time.Millisecond)
	}
	if !a.Leads() || b.Leads() || b.Leader() != "a" {
		t.Errorf("leads: %v and %v; leader: %q", a.Leads(), b.Leads(), b.Leader())
	}
	a.end()
	<-a.done
	ended := time.Now()
	await(t, changesOfB, true)
	if took := time.Since(ended); took > retryPeriod+time.Second {
		t.Errorf("the handover took %v", took)
	}
	checkKube(t, read(t, kube, name), "b", 1)
	b.end()
	<-b.done
	spec := read(t, kube, name).Spec
	if *spec.HolderIdentity != "" || *spec.LeaseDurationSeconds != 1 || *spec.LeaseTransitions != 1 {
		t.Errorf("the Lease after the end of all: %v", spec)
	}
}

// checkKube checks what kubectl get lease -o yaml would show.
func checkKube(t *testing.T, found *coordinationv1.Lease, holder string, transitions int32) {
	t.Helper()
	want := coordinationv1.LeaseSpec{
		HolderIdentity: &holder, LeaseDurationSeconds: new(int32(15)), LeaseTransitions: &transitions,
		AcquireTime: found.Spec.AcquireTime, RenewTime: found.Spec.RenewTime,
	}
	if diff := cmp.Diff(want, found.Spec); diff != "" {
		t.Errorf("the Lease (-want +got):\n%s", diff)
	}
	for _, moment := range []*metav1.MicroTime{found.Spec.AcquireTime, found.Spec.RenewTime} {
		if moment == nil || time.Since(moment.Time) > 30*time.Second || time.Since(moment.Time) < 0 {
			t.Errorf("time %v; want one of the last seconds", moment)
		}
	}
}

func testRights(t *testing.T, kube *servers.Kube) {
	const name = "rights"
	const denied = `WARN problem subject=leader election err=%s Lease default/rights: leases.coordination.k8s.io %sis forbidden: ` +
		`User "system:serviceaccount:default:elector" cannot %s resource "leases" in API group "coordination.k8s.io" in the namespace "default": %s` +
		`allow it with a Role in namespace "default" that has the rule {apiGroups: [coordination.k8s.io], resources: [leases], %s}`
	c, changes := standKube(t, kube.ServiceAccountKubeconfig(t, "default", "elector"), name, "elector")
	until(t, 30*time.Second, func() bool { return len(c.logged()) == 1 })
	rule := rbacv1.PolicyRule{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}}
	rule.ResourceNames, rule.Verbs = []string{name}, []string{"get", "update"}
	allow(t, kube, "elector", rule)
	until(t, 30*time.Second, func() bool { return len(c.logged()) == 2 })
	empty := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := kube.Client().CoordinationV1().Leases("default").Create(t.Context(), empty, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, changes, true)
	checkKube(t, read(t, kube, name), "elector", 0)
	c.checkLog(t,
		fmt.Sprintf(denied, "reading", `"rights" `, "get", "", `resourceNames: ["rights"], verbs: [get, update]`),
		fmt.Sprintf(denied, "creating", "", "create", "create the Lease beforehand, or ", "verbs: [create]"),
		"INFO problem is over subject=leader election",
		"INFO leadership changed lease=default/rights leader=elector leads=true")
}

// allow grants one rule to a service account in the namespace default.
func allow(t *testing.T, kube *servers.Kube, account string, rule rbacv1.PolicyRule) {
	t.Helper()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: account}, Rules: []rbacv1.PolicyRule{rule}}
	if _, err := kube.Client().RbacV1().Roles("default").Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: account},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: account},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "default", Name: account}},
	}
	if _, err := kube.Client().RbacV1().RoleBindings("default").Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
