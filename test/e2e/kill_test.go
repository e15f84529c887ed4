//go:build linux

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/issuer-sync/issuer-sync/test/node"
)

// killIssuerSync removes its pods one by one while readers ask, and wants no
// reader to notice.
func (w *world) killIssuerSync(t *testing.T) {
	readers := w.readDocuments(t, w.serviceAddress(t, "issuer-sync"), ownServer+"/oidc", 200)
	w.removeOneByOne(t, "issuer-sync")
	readers.wantAllGood(t, "readers at 200 a second", 1000)
	w.verify(t)
}

// removeOneByOne removes each pod of a Deployment, waiting for the next to be in
// its place.
func (w *world) removeOneByOne(t *testing.T, deployment string) {
	t.Helper()
	for _, pod := range w.pods(t, namespace, "app.kubernetes.io/name="+deployment) {
		if err := w.Client().CoreV1().Pods(namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		node.Await(t, patience, "pod "+pod.Name+" to be gone", func(ctx context.Context) error {
			_, err := w.Client().CoreV1().Pods(namespace).Get(ctx, pod.Name, metav1.GetOptions{})
			if err == nil {
				return errors.New("it is there")
			}
			return nil
		})
		w.checkReady(t, current)
	}
}

// killWebhook removes its pods one by one, of which no creation of a pod may
// notice, and then kills both at once: pods that ask are refused, others and its
// own are not.
func (w *world) killWebhook(t *testing.T) {
	creators := w.createPods(t, 20)
	w.removeOneByOne(t, "issuer-sync-webhook")
	creators.wantAllGood(t, "creations of pods", 100)

	others := startFlood(t, 20, func(ctx context.Context, n int) error { return w.create(ctx, fmt.Sprintf("other-%d", n), false) })
	for _, pod := range w.pods(t, namespace, "app.kubernetes.io/name=issuer-sync-webhook") {
		w.killContainer(t, pod, "webhook")
	}
	began := time.Now()
	err := w.create(t.Context(), "refused", true)
	if !refused(err) {
		t.Errorf("creating a pod while the webhook is down: %v; want a refusal that names it", err)
	}
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("the refusal took %s; want 5 s", took)
	} else {
		t.Logf("refused after %s: %v", took, err)
	}
	w.checkReady(t, current)
	node.Await(t, patience, "pods to be let in again", func(ctx context.Context) error { return w.create(ctx, "again", true) })
	t.Logf("killed webhooks were back after %s", time.Since(began))
	others.wantAllGood(t, "creations of pods that do not ask", 20)
}

// killProxy kills a pod's proxy while a program asks it; the kubelet starts it
// again, with the redirect still there.
func (w *world) killProxy(t *testing.T) {
	w.startAsker(t, "asker")
	pod, err := w.Client().CoreV1().Pods("shop").Get(t.Context(), "asker", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.killContainer(t, *pod, "azwi-proxy")
	began := time.Now()
	node.Await(t, patience, "the proxy to run again", func(ctx context.Context) error {
		pod, err := w.Client().CoreV1().Pods("shop").Get(ctx, "asker", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, status := range pod.Status.InitContainerStatuses {
			if status.Name == "azwi-proxy" && status.RestartCount == 1 && status.Started != nil && *status.Started {
				return nil
			}
		}
		return errors.New("it does not")
	})
	t.Logf("the killed proxy ran again after %s", time.Since(began))
	time.Sleep(2 * time.Second) // some attempts that must be good
	summary := w.stop(t, "shop", "asker")
	if summary.OK < 10 {
		t.Errorf("%+v; want good attempts before and after the kill", summary)
	}
	for _, text := range summary.Errors {
		if !strings.Contains(text, "connection refused") && !strings.Contains(text, "connection reset") && !strings.Contains(text, "EOF") {
			t.Errorf("an attempt failed with %s; want no other failure than that nothing listened", text)
		}
	}
}

// killContainer kills a container's processes as the kernel would for want of
// memory.
func (w *world) killContainer(t *testing.T, pod corev1.Pod, container string) {
	t.Helper()
	for _, status := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
		if status.Name != container {
			continue
		}
		w.Kill(t, strings.TrimPrefix(status.ContainerID, "containerd://"))
		return
	}
	t.Fatalf("pod %s has no container %s", pod.Name, container)
}
