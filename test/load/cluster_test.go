package load_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/issuer-sync/issuer-sync/test/program"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

const (
	namespace    = "shop" // of the pods
	ownNamespace = "issuer-sync"
	ownName      = "issuer-sync-webhook"
	serviceName  = ownName + "." + ownNamespace + ".svc"
)

// cluster is a control plane that has what the webhook needs.
type cluster struct {
	*servers.Kube
	kubeconfig string
	accounts   int // annotated ones that exist
}

// newCluster makes a cluster with the webhook's ServiceAccount and its rights.
func newCluster(b *testing.B) *cluster {
	b.Helper()
	c := &cluster{Kube: servers.StartKube(b, servers.KubeConfig{})}
	c.kubeconfig = c.ServiceAccountKubeconfig(b, ownNamespace, ownName)
	rbac := c.Client().RbacV1()
	if _, err := rbac.ClusterRoles().Create(b.Context(), &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: ownName},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, Verbs: []string{"get", "list", "watch"}},
			{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get", "patch"}},
			{APIGroups: []string{"admissionregistration.k8s.io"}, Resources: []string{"mutatingwebhookconfigurations"}, Verbs: []string{"get", "patch"}},
		},
	}, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	if _, err := rbac.ClusterRoleBindings().Create(b.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: ownName},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: ownName},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: ownNamespace, Name: ownName}},
	}, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	pods := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := c.Client().CoreV1().Namespaces().Create(b.Context(), pods, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	return c
}

// annotated makes annotated ServiceAccounts until there are so many, each of 1.7
// KB as JSON. The first is that of the pods.
func (c *cluster) annotated(b *testing.B, count int) {
	b.Helper()
	numbers := make(chan int)
	group, ctx := errgroup.WithContext(b.Context())
	for range 16 {
		group.Go(func() error {
			for n := range numbers {
				if err := c.makeAccount(ctx, n); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for n := c.accounts; n < count; n++ {
		select {
		case numbers <- n:
		case <-ctx.Done():
		}
	}
	close(numbers)
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	c.accounts = count
}

func (c *cluster) makeAccount(ctx context.Context, n int) error {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Name:   fmt.Sprintf("app-%d", n),
		Labels: map[string]string{"app.kubernetes.io/name": "app", "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "app-1.2.3"},
		Annotations: map[string]string{
			"azure.workload.identity/client-id": fmt.Sprintf("%s%06d", clientID[:len(clientID)-6], n),
			"azure.workload.identity/tenant-id": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
			"meta.helm.sh/release-name":         "app",
			"note":                              strings.Repeat("what tools leave behind ", 31),
		},
	}}
	if n == 0 {
		account.Name = "app"
		account.Annotations["azure.workload.identity/client-id"] = clientID
	}
	_, err := c.Client().CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{FieldManager: "helm"})
	return err
}

// start starts the webhook as its ServiceAccount.
func (c *cluster) start(b *testing.B, args ...string) *process {
	b.Helper()
	return start(b, b.TempDir(), program.Build(b, "cmd/webhook"), append([]string{
		"--tenant-id=aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "--namespace=" + ownNamespace, "--kubeconfig=" + c.kubeconfig,
		"--webhook-addr=127.0.0.1:0", "--health-addr=127.0.0.1:0", "--metrics-addr=127.0.0.1:0", "--linger=0s",
	}, args...)...)
}

// address is where the webhook answers reviews.
func (p *process) address(b *testing.B) string {
	b.Helper()
	return p.logged(b, `msg=serving server=webhook address=(\S+)`)
}

// ready returns nil if the webhook says that it is ready.
func (p *process) ready(b *testing.B) error {
	b.Helper()
	request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+p.logged(b, `msg=serving server=health address=(\S+)`)+"/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := new(http.Transport).RoundTrip(request)
	if err != nil {
		return err
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	return nil
}
