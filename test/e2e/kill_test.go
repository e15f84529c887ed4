//go:build linux

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/issuer-sync/issuer-sync/test/node"
)

// killIssuerSync removes its pods one by one while readers ask, and wants no
// reader to notice; and then it kills one as a lack of memory would, which who
// asked just that one may notice, until the Service knows.
func (w *world) killIssuerSync(t *testing.T) {
	address := w.serviceAddress(t, "issuer-sync")
	readers := w.readDocuments(t, address, ownServer+"/oidc", 200)
	w.removeOneByOne(t, "issuer-sync")
	readers.wantAllGood(t, "readers at 200 a second", 1000)

	readers = w.readDocuments(t, address, ownServer+"/oidc", 200)
	victim := w.pods(t, namespace, "app.kubernetes.io/name=issuer-sync")[0]
	began := time.Now()
	w.killContainer(t, victim, "issuer-sync")
	time.Sleep(interval) // for the kubelet to see it
	w.checkReady(t, current)
	back := time.Since(began)
	time.Sleep(interval) // of readers who must not notice any more
	good, errs := readers.stop(t, "readers while a replica was killed")
	t.Logf("the killed replica was back after %s", back)
	if good < len(errs) {
		t.Errorf("%d good, %d failed, the first: %v; want the other replica to answer", good, len(errs), errs[0].error)
	}
	for _, err := range errs {
		if !isDown(err.Error()) || err.at.Sub(began) > back {
			t.Fatalf("%s after the kill: %v; want nothing but that nobody listened, until %s", err.at.Sub(began), err, back)
		}
	}
	w.verify(t)
}

// isDown reports whether an error says that nobody listens any more.
func isDown(text string) bool {
	for _, part := range []string{"connection refused", "connection reset", "broken pipe", "EOF", "server closed idle connection"} {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
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
			switch {
			case apierrors.IsNotFound(err):
				return nil
			case err == nil:
				return errors.New("it is there")
			}
			return err
		})
		w.checkReady(t, current)
	}
}

// killWebhook removes its pods one by one, of which no creation of a pod may
// notice, and then takes it away altogether: pods that ask are refused, at once if
// there is none and after the time-out if it hangs; others, those of the control
// plane and its own are not.
func (w *world) killWebhook(t *testing.T) {
	creators := w.createPods(t, 20)
	w.removeOneByOne(t, webhook)
	creators.wantAllGood(t, "creations of pods", 100)

	others := startFlood(t, 20, func(ctx context.Context, n int) error { return w.create(ctx, fmt.Sprintf("other-%d", n), false) })
	for _, pod := range w.pods(t, namespace, "app.kubernetes.io/name="+webhook) {
		w.Pause(t, containerID(t, pod, "webhook"))
	}
	w.wantRefusal(t, "while the webhook hangs", 5*time.Second)
	w.scale(t, webhook, 0)
	w.wantRefusal(t, "while there is no webhook", 0)
	for _, namespace := range []string{namespace, metav1.NamespaceSystem} {
		pod := podOf(workload{namespace: namespace, name: "unasked", image: "imds"}.template(), "unasked")
		pod.Spec.ServiceAccountName = "default"
		if _, err := w.Client().CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
			t.Errorf("creating a pod with the label in %s while there is no webhook: %v", namespace, err)
		}
	}
	w.scale(t, webhook, 2) // its own pods start without it
	node.Await(t, patience, "pods to be let in again", func(ctx context.Context) error { return w.create(ctx, "again", true) })
	others.wantAllGood(t, "creations of pods that do not ask", 100)
}

const webhook = "issuer-sync-webhook" // its Deployment

// wantRefusal wants a pod that asks to be refused, with the webhook's name, not
// before some time and soon after.
func (w *world) wantRefusal(t *testing.T, when string, after time.Duration) {
	t.Helper()
	began := time.Now()
	err := w.create(t.Context(), "refused", true)
	took := time.Since(began)
	t.Logf("%s a pod is refused after %s: %v", when, took, err)
	if !refused(err) || took < after || took > after+patience/10 {
		t.Errorf("creating a pod %s: %v after %s; want a refusal that names the webhook, after %s", when, err, took, after)
	}
}

// scale waits until a Deployment has so many pods, and no other is left.
func (w *world) scale(t *testing.T, deployment string, replicas int) {
	t.Helper()
	output(t, w.Kubectl(t.Context(), "scale", "deployment", deployment, "--namespace", namespace, "--replicas", strconv.Itoa(replicas)), "scale")
	node.Await(t, patience, "as many pods as wanted", func(ctx context.Context) error {
		list, err := w.Client().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + deployment})
		if err == nil && len(list.Items) != replicas {
			err = fmt.Errorf("%d are there", len(list.Items))
		}
		return err
	})
	if replicas > 0 {
		w.checkReady(t, current)
	}
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
	back := time.Since(began)
	t.Logf("the killed proxy ran again after %s", back)
	time.Sleep(interval) // of attempts that must be good
	summary := w.stop(t, "shop", "asker")
	// 5 attempts a second while it was away, and one more at either end.
	if most := int(back.Seconds()*5) + 2; summary.OK < 10 || summary.Failed > most || len(summary.Errors) != summary.Failed {
		t.Errorf("%+v; want good attempts before and after the kill, and at most %d failures", summary, most)
	}
	for _, text := range summary.Errors {
		if !isDown(text) {
			t.Errorf("an attempt failed with %s; want no other failure than that nothing listened", text)
		}
	}
}

// killContainer kills a container's processes as the kernel would for want of
// memory.
func (w *world) killContainer(t *testing.T, pod corev1.Pod, container string) {
	t.Helper()
	w.Kill(t, containerID(t, pod, container))
}

// containerID is what containerd knows a container by.
func containerID(t *testing.T, pod corev1.Pod, container string) string {
	t.Helper()
	for _, status := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
		if status.Name == container {
			return strings.TrimPrefix(status.ContainerID, "containerd://")
		}
	}
	t.Fatalf("pod %s has no container %s", pod.Name, container)
	return ""
}
