package accounts_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/issuer-sync/issuer-sync/internal/accounts"
	"github.com/issuer-sync/issuer-sync/internal/admission"
	"github.com/issuer-sync/issuer-sync/pkg/mutate"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

// cluster is a control plane, and the webhook's rights in it.
type cluster struct {
	*servers.Kube
	config *rest.Config
}

// TestKube asks a real API server, with exactly the rights that the webhook has.
func TestKube(t *testing.T) {
	kube := servers.StartKube(t, servers.KubeConfig{})
	c := cluster{kube, webhookConfig(t, kube)}
	// In this order: the last one restarts the server.
	for _, test := range []struct {
		name string
		run  func(*testing.T, cluster)
	}{
		{"kept annotations", testKept},
		{"changes", testChanges},
		{"annotated a moment ago", testAnnotatedAMomentAgo},
		{"missing", testMissing},
		{"created a moment later", testCreatedLater},
		{"wait for nothing", testWaitForNothing},
		{"the API server is down", testOutage},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, c) })
	}
}

// webhookConfig is the configuration of a ServiceAccount that may get, list and
// watch ServiceAccounts.
func webhookConfig(t *testing.T, kube *servers.Kube) *rest.Config {
	t.Helper()
	config := kube.ServiceAccount(t, "webhook", "webhook")
	rbac := kube.Client().RbacV1()
	if _, err := rbac.ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "webhook"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, Verbs: []string{"get", "list", "watch"}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := rbac.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "webhook"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "webhook"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "webhook", Name: "webhook"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return config
}

func account(name string, annotations map[string]string) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Namespace: metav1.NamespaceDefault, Name: name, Annotations: annotations, Labels: map[string]string{"app": name},
	}}
}

func (c cluster) create(t *testing.T, name string, annotations map[string]string) {
	t.Helper()
	if _, err := c.Client().CoreV1().ServiceAccounts(metav1.NamespaceDefault).Create(t.Context(), account(name, annotations), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (c cluster) update(t *testing.T, name string, annotations map[string]string) {
	t.Helper()
	if _, err := c.Client().CoreV1().ServiceAccounts(metav1.NamespaceDefault).Update(t.Context(), account(name, annotations), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func withID(id string) map[string]string { return map[string]string{mutate.AnnotationClientID: id} }

func check(t *testing.T, cache *accounts.Cache, name string, want map[string]string) {
	t.Helper()
	identity, err := cache.Identity(t.Context(), metav1.NamespaceDefault, name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(mutate.Identity{Namespace: metav1.NamespaceDefault, Name: name, Annotations: want}, identity); diff != "" {
		t.Error(diff)
	}
}

// soon waits until the cache, which is current only a moment after the API
// server, answers as the test wants.
func soon(t *testing.T, cache *accounts.Cache, name string, good func(mutate.Identity, error) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		identity, err := cache.Identity(ctx, metav1.NamespaceDefault, name)
		if good(identity, err) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("still %v, %v", identity, err)
		}
	}
}

func hasID(id string) func(mutate.Identity, error) bool {
	return func(identity mutate.Identity, err error) bool {
		return err == nil && identity.Annotations[mutate.AnnotationClientID] == id
	}
}

func asked(s *spy, name string) int {
	n := 0
	for _, request := range s.seen() {
		if strings.HasSuffix(request, "/serviceaccounts/"+name) {
			n++
		}
	}
	return n
}

func testKept(t *testing.T, c cluster) {
	c.create(t, "kept", map[string]string{
		mutate.AnnotationClientID: clientID, mutate.AnnotationTenantID: "", mutate.AnnotationTokenExpiration: "7200", "other": "x",
	})
	c.create(t, "without-id", map[string]string{mutate.AnnotationTenantID: "contoso.com", "other": "x"})
	var s spy
	cache := run(t, accounts.Config{Cluster: s.on(c.config)})
	if err := cache.Ready(); err != nil {
		t.Error(err)
	}
	want := map[string]string{mutate.AnnotationClientID: clientID, mutate.AnnotationTenantID: "", mutate.AnnotationTokenExpiration: "7200"}
	check(t, cache, "kept", want)
	if n := asked(&s, "kept"); n != 0 {
		t.Errorf("the API server was asked %d times for what is in the cache", n)
	}
	check(t, cache, "without-id", map[string]string{mutate.AnnotationTenantID: "contoso.com"})
	if n := asked(&s, "without-id"); n != 1 {
		t.Errorf("the API server was asked %d times for what may have an ID by now, want 1", n)
	}
	for _, request := range s.seen() {
		if strings.Contains(request, "limit=") {
			t.Errorf("%s: want the list as a stream", request)
		}
	}
	// And the same from the API server itself.
	check(t, newCache(t, accounts.Config{Cluster: c.config}), "kept", want)
}

func testChanges(t *testing.T, c cluster) {
	cache := run(t, accounts.Config{Cluster: c.config})
	c.create(t, "changing", withID(clientID))
	check(t, cache, "changing", withID(clientID))
	c.update(t, "changing", withID(otherClientID))
	soon(t, cache, "changing", hasID(otherClientID))
	c.update(t, "changing", nil)
	soon(t, cache, "changing", hasID(""))
	c.update(t, "changing", withID(clientID))
	check(t, cache, "changing", withID(clientID))
	if err := c.Client().CoreV1().ServiceAccounts(metav1.NamespaceDefault).Delete(t.Context(), "changing", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	soon(t, cache, "changing", func(_ mutate.Identity, err error) bool { return errors.Is(err, admission.ErrNoServiceAccount) })
}

// testAnnotatedAMomentAgo fails if the cache is trusted where it knows no ID:
// the watch is a moment behind.
func testAnnotatedAMomentAgo(t *testing.T, c cluster) {
	cache := run(t, accounts.Config{Cluster: c.config})
	for i := range 100 {
		name := fmt.Sprint("annotated-", i)
		c.create(t, name, nil)
		check(t, cache, name, map[string]string{})
		c.update(t, name, withID(clientID))
		check(t, cache, name, withID(clientID))
	}
}

func testMissing(t *testing.T, c cluster) {
	cache := run(t, accounts.Config{Cluster: c.config})
	for _, name := range [][2]string{{metav1.NamespaceDefault, "missing"}, {"no-such-namespace", "app"}} {
		_, err := cache.Identity(t.Context(), name[0], name[1])
		want := fmt.Sprintf("ServiceAccount %q: no such ServiceAccount", name[0]+"/"+name[1])
		if !errors.Is(err, admission.ErrNoServiceAccount) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// testCreatedLater makes each ServiceAccount after the API server has said that
// there is none.
func testCreatedLater(t *testing.T, c cluster) {
	missed := make(chan struct{}, 1)
	s := spy{answered: func(_ *http.Request, status int) {
		if status == http.StatusNotFound {
			missed <- struct{}{}
		}
	}}
	cache := run(t, accounts.Config{Cluster: s.on(c.config), Wait: accounts.MaxWait})
	for i, annotations := range []map[string]string{withID(clientID), {}} {
		name := fmt.Sprint("later-", i)
		var g errgroup.Group
		started := time.Now()
		g.Go(func() error {
			identity, err := cache.Identity(t.Context(), metav1.NamespaceDefault, name)
			if err == nil && !cmp.Equal(identity.Annotations, annotations) {
				err = fmt.Errorf("annotations %v, want %v", identity.Annotations, annotations)
			}
			return err
		})
		<-missed
		c.create(t, name, annotations)
		if err := g.Wait(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(started); took >= accounts.MaxWait {
			t.Errorf("%s: found only after the wait, %s", name, took)
		}
	}
}

func testWaitForNothing(t *testing.T, c cluster) {
	const wait = 200 * time.Millisecond
	cache := run(t, accounts.Config{Cluster: c.config, Wait: wait})
	started := time.Now()
	if _, err := cache.Identity(t.Context(), metav1.NamespaceDefault, "never"); !errors.Is(err, admission.ErrNoServiceAccount) {
		t.Error(err)
	}
	if took := time.Since(started); took < wait {
		t.Errorf("gave up after %s, want %s", took, wait)
	}
}

func testOutage(t *testing.T, c cluster) {
	c.create(t, "before", withID(clientID))
	cache := run(t, accounts.Config{Cluster: c.config})
	c.Servers()[0].Stop()
	check(t, cache, "before", withID(clientID))
	if _, err := cache.Identity(t.Context(), metav1.NamespaceDefault, "unknown"); err == nil || errors.Is(err, admission.ErrNoServiceAccount) {
		t.Errorf("%v: want that it is not known", err)
	}
	if err := cache.Ready(); err != nil {
		t.Error(err)
	}
	c.Servers()[0].Start(t)
	c.update(t, "before", withID(otherClientID))
	soon(t, cache, "before", hasID(otherClientID))
}

// TestKubeWithoutStreaming is a server that cannot stream lists: they are read
// in pages.
func TestKubeWithoutStreaming(t *testing.T) {
	kube := servers.StartKube(t, servers.KubeConfig{Servers: []servers.ServerConfig{{ExtraArgs: []string{"--feature-gates=WatchList=false"}}}})
	c := cluster{kube, webhookConfig(t, kube)}
	const count = 1100 // three pages
	var g errgroup.Group
	g.SetLimit(8)
	client := kube.Client().CoreV1().ServiceAccounts(metav1.NamespaceDefault)
	for i := range count {
		g.Go(func() error {
			_, err := client.Create(t.Context(), account(fmt.Sprint("app-", i), withID(clientID)), metav1.CreateOptions{})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	var s spy
	cache := run(t, accounts.Config{Cluster: s.on(c.config)})
	pages := slices.DeleteFunc(s.seen(), func(request string) bool { return !strings.Contains(request, "limit=500") })
	if len(pages) != 3 {
		t.Errorf("%d pages, want 3 of 500: %q", len(pages), s.seen())
	}
	for i := range count {
		check(t, cache, fmt.Sprint("app-", i), withID(clientID))
	}
	c.update(t, "app-0", withID(otherClientID))
	soon(t, cache, "app-0", hasID(otherClientID))
	if n := asked(&s, "app-1"); n != 0 {
		t.Errorf("the API server was asked %d times for what is in the cache", n)
	}
}
