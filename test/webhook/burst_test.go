package webhook_test

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// testBurst creates 2,000 pods by 32 clients.
func testBurst(t *testing.T, i *installation) {
	const clients, pods = 32, 2000
	i.makeNamespace(t, "burst", nil, withClientID())
	var (
		mu   sync.Mutex // guards took
		took []time.Duration
		next = make(chan int)
	)
	group, ctx := errgroup.WithContext(t.Context())
	for range clients {
		client := i.newClient(t)
		group.Go(func() error {
			for n := range next {
				started := time.Now()
				if err := createPod(ctx, client, labelled("burst", fmt.Sprintf("pod-%d", n)), metav1.CreateOptions{}); err != nil {
					return err
				}
				mu.Lock()
				took = append(took, time.Since(started))
				mu.Unlock()
			}
			return nil
		})
	}
	started := time.Now()
	for n := range pods {
		select {
		case next <- n:
		case <-ctx.Done():
		}
	}
	close(next)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(took)
	t.Logf("%d pods by %d clients in %.1f s; the median took %s, p99 %s, the slowest %s", len(took), clients, time.Since(started).Seconds(),
		took[len(took)/2].Round(time.Millisecond), took[len(took)*99/100].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	within := func(seconds string) float64 {
		return i.ofReplicas(t, "azwi_mutation_request_bucket", `namespace="burst"`, `le="`+seconds+`"`)
	}
	t.Logf("the webhook answered %.0f within 10 ms, %.0f within 100 ms", within("0.01"), within("0.1"))
	// Not 100 ms: with few CPUs, all these processes wait for them.
	if most := within("0.5"); most < pods*99/100 {
		t.Errorf("the webhook answered %.0f of %d within 500 ms, want 99 of 100", most, pods)
	}
}

// newClient returns an administrator's client with a connection of its own.
func (i *installation) newClient(t *testing.T) kubernetes.Interface {
	t.Helper()
	config := i.Config()
	config.Dial = (&net.Dialer{Timeout: patience}).DialContext // or client-go would share a connection
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// testBackToBack creates ServiceAccounts, and a pod with each at once: what the
// webhook has cached cannot have it.
func testBackToBack(t *testing.T, i *installation) {
	const workers, pairs = 4, 1000
	i.makeNamespace(t, "pairs", nil, nil)
	group, ctx := errgroup.WithContext(t.Context())
	for worker := range workers {
		client := i.newClient(t)
		group.Go(func() error {
			for n := worker; n < pairs; n += workers {
				name := fmt.Sprintf("app-%d", n)
				account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: withClientID()}}
				if _, err := client.CoreV1().ServiceAccounts("pairs").Create(ctx, account, metav1.CreateOptions{}); err != nil {
					return err
				}
				pod := labelled("pairs", name)
				pod.Spec.ServiceAccountName = name
				if err := createPod(ctx, client, pod, metav1.CreateOptions{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d pods mutated", pairs)
}
