//go:build linux

package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/issuer-sync/issuer-sync/test/e2e/workloads/load"
	"github.com/issuer-sync/issuer-sync/test/node"
)

// startWriter starts a pod that writes a blob 5 times a second, each time with
// a token exchanged anew.
func (w *world) startWriter(t *testing.T, name string) {
	t.Helper()
	w.start(t, workload{namespace: "shop", name: name, image: "blobwriter", args: []string{"-every", "200ms"}, env: blobEnv(name)})
	w.awaitRunning(t, "shop", name)
}

// startAsker starts a pod that asks its proxy 5 times a second, each time for
// what the proxy has not kept.
func (w *world) startAsker(t *testing.T, name string) {
	t.Helper()
	w.start(t, workload{namespace: "shop", name: name, image: "imds", args: []string{"-every", "200ms", "-fresh"}, annotations: proxied("")})
	w.awaitRunning(t, "shop", name)
}

func (w *world) awaitRunning(t *testing.T, namespace, name string) {
	t.Helper()
	node.Await(t, patience, "pod "+name+" to run", func(ctx context.Context) error {
		pod, err := w.Client().CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil && pod.Status.Phase != corev1.PodRunning {
			err = fmt.Errorf("phase %s, %+v", pod.Status.Phase, pod.Status.ContainerStatuses)
		}
		return err
	})
}

// stop has the kubelet end a pod that loads, without removing it, and returns
// what became of its attempts.
func (w *world) stop(t *testing.T, namespace, name string) load.Summary {
	t.Helper()
	pods := w.Client().CoreV1().Pods(namespace)
	_, err := pods.Patch(t.Context(), name, types.MergePatchType, []byte(`{"spec": {"activeDeadlineSeconds": 1}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var pod *corev1.Pod
	node.Await(t, patience, "pod "+name+" to end", func(ctx context.Context) error {
		pod, err = pods.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, status := range pod.Status.ContainerStatuses {
			if status.Name == "app" && status.State.Terminated != nil {
				return nil
			}
		}
		return fmt.Errorf("phase %s", pod.Status.Phase)
	})
	var summary load.Summary
	text := w.logs(t, namespace, name, "app")
	if err := json.Unmarshal([]byte(text), &summary); err != nil {
		t.Fatalf("pod %s printed %q: %v\n%s", name, text, err, w.describe(t, namespace, []corev1.Pod{*pod}))
	}
	t.Logf("pod %s: %+v", name, summary)
	return summary
}

// wantNoFailure stops a pod that loads: it must have done something, and nothing
// may have failed.
func (w *world) wantNoFailure(t *testing.T, name string) {
	t.Helper()
	if summary := w.stop(t, "shop", name); summary.OK == 0 || summary.Failed > 0 {
		t.Errorf("pod %s: %+v; want some good attempts and no failure", name, summary)
	}
}

// flood is a load from outside of the cluster's pods.
type flood struct {
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex // guards what follows
	good    int
	errs    []failure
	longest time.Duration
}

// failure is why an attempt failed, and when it did.
type failure struct {
	error
	at time.Time
}

// startFlood makes a number of attempts a second, each by itself.
func startFlood(t *testing.T, perSecond int, attempt func(ctx context.Context, n int) error) *flood {
	ctx, cancel := context.WithCancel(t.Context())
	f := &flood{cancel: cancel}
	f.running.Go(func() {
		ticker := time.NewTicker(time.Second / time.Duration(perSecond))
		defer ticker.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				f.running.Go(func() { f.count(time.Now(), attempt(context.WithoutCancel(ctx), n)) })
			}
		}
	})
	t.Cleanup(cancel)
	return f
}

func (f *flood) count(began time.Time, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.longest = max(f.longest, time.Since(began))
	if err != nil {
		f.errs = append(f.errs, failure{err, time.Now()})
		return
	}
	f.good++
}

// stop ends the load and returns what it came to.
func (f *flood) stop(t *testing.T, what string) (good int, errs []failure) {
	t.Helper()
	f.cancel()
	f.running.Wait()
	t.Logf("%s: %d good, %d failed, the longest took %s", what, f.good, len(f.errs), f.longest)
	return f.good, f.errs
}

// wantAllGood stops the load: it must have been some, and nothing may have failed.
func (f *flood) wantAllGood(t *testing.T, what string, atLeast int) {
	t.Helper()
	good, errs := f.stop(t, what)
	if len(errs) > 0 {
		t.Errorf("%s: %d failed, the first at %s: %v", what, len(errs), errs[0].at.Format(time.TimeOnly), errs[0].error)
	}
	if good < atLeast {
		t.Errorf("%s: only %d attempts, which proves little; want %d", what, good, atLeast)
	}
}

// readDocuments floods a server of the documents, each time over a new
// connection as a new reader.
func (w *world) readDocuments(t *testing.T, address, base string, perSecond int) *flood {
	t.Helper()
	client := w.client(address)
	client.Transport.(*http.Transport).DisableKeepAlives = true
	return startFlood(t, perSecond, func(ctx context.Context, n int) error {
		document := []string{"/.well-known/openid-configuration", "/openid/v1/jwks"}[n%2]
		body, err := fetch(ctx, client, base+document)
		if err == nil && !json.Valid([]byte(body)) {
			err = fmt.Errorf("%s is no JSON: %q", document, body)
		}
		return err
	})
}
