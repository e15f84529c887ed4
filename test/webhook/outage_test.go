package webhook_test

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// endTime is how long a replica may take to end: it lingers for 5 s and has 10 s
// for requests under way.
const endTime = 16 * time.Second

// testRollout: replicas are replaced one after the other while pods are created
// as fast as that goes.
func testRollout(t *testing.T, i *installation) {
	const linger = "--linger=2s"
	running := slices.DeleteFunc(slices.Clone(i.replicas), (*replica).ended)
	load := i.load(t, unending)
	load.goOn(t)
	for range 4 {
		next := i.start(t, linger)
		next.awaitReady(t)
		load.goOn(t)
		started := time.Now()
		running[0].terminate(t)
		if code := running[0].awaitEnd(t, endTime); code != 0 {
			t.Errorf("it ended with %d", code)
		}
		t.Logf("it ended after %s", time.Since(started).Round(time.Millisecond))
		running = append(running[1:], next)
	}
	load.goOn(t)
	load.stop(t)
}

// testDrain: the only replica is told to end while it waits for a ServiceAccount,
// and does not linger. The pod is created, as the account comes.
func testDrain(t *testing.T, i *installation) {
	i.killAll(t)
	r := i.start(t, "--service-account-wait=4s", "--linger=0s")
	r.awaitReady(t)
	i.makeNamespace(t, "drain", nil, nil)
	pod := labelled("drain", "waiting")
	pod.Spec.ServiceAccountName = "late"
	// Only the webhook asks for one ServiceAccount that is not there.
	asked := func() float64 {
		return i.ofAPIServer(t, "apiserver_request_total", `resource="serviceaccounts"`, `verb="GET"`, `code="404"`)
	}
	already := asked()
	created := make(chan error, 1)
	go func() { created <- createPod(t.Context(), i.Client(), pod, metav1.CreateOptions{}) }()
	eventually(t, "the webhook to look for the ServiceAccount", patience, func() bool { return asked() > already })
	r.terminate(t)
	eventually(t, "the replica to listen no more", patience, func() bool { return r.served() == nil })
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "late", Annotations: withClientID()}}
	if _, err := i.Client().CoreV1().ServiceAccounts("drain").Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := <-created; err != nil {
		t.Errorf("the answer was cut: %v", err)
	}
	if code := r.awaitEnd(t, endTime); code != 0 {
		t.Errorf("it ended with %d", code)
	}
}

// testOutage: with no webhook, and then with one that does not answer, only pods
// that ask for an identity are refused.
func testOutage(t *testing.T, i *installation) {
	i.killAll(t)
	t.Run("killed", func(t *testing.T) {
		r := i.start(t)
		r.awaitReady(t)
		i.awaitReachable(t)
		r.kill(t)
		testOnlyLabelledRefused(t, i, "connection refused", "connection reset", "EOF")
	})
	t.Run("hung", func(t *testing.T) {
		r := i.start(t)
		r.awaitReady(t)
		i.awaitReachable(t)
		close(r.gone) // or the service would notice; it is set again below
		eventually(t, "the service to forget the replica", patience, func() bool { return i.service.pick() == "" })
		i.service.set(r.address, true)
		if err := r.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		testOnlyLabelledRefused(t, i, "context deadline exceeded", "Client.Timeout exceeded")
		i.service.set(r.address, false)
	})
}

func testOnlyLabelledRefused(t *testing.T, i *installation, causes ...string) {
	client := i.newClient(t)
	for _, test := range []struct {
		name string
		pod  *corev1.Pod
	}{
		{"without the label", unlabelled("load", "without")},
		{"in kube-system", labelled("kube-system", "with")},
		{"in its own namespace", restricted(labelled(ownNamespace, "with"))},
	} {
		started := time.Now()
		created, err := client.CoreV1().Pods(test.pod.Namespace).Create(t.Context(), test.pod, dryRun())
		if err != nil || len(created.Spec.Volumes) > 0 {
			t.Errorf("%s: %v", test.name, err)
		}
		if took := time.Since(started); took > 2*time.Second {
			t.Errorf("%s: it took %s", test.name, took)
		}
	}
	started := time.Now()
	err := createPod(t.Context(), client, labelled("load", "with"), dryRun())
	took := time.Since(started)
	const says = `failed calling webhook "mutation.azure-workload-identity.io"`
	if err == nil || !strings.Contains(err.Error(), says) || took > 5500*time.Millisecond {
		t.Fatalf("with the label, after %s: %v; want within 5 s that it %s", took, err, says)
	}
	known := false
	for _, cause := range causes {
		known = known || strings.Contains(err.Error(), cause)
	}
	if !known {
		t.Errorf("%v; want one of %q", err, causes)
	}
	t.Logf("refused after %s: %v", took.Round(time.Millisecond), err)
}

// restricted has the pod be one that PodSecurity admits anywhere.
func restricted(pod *corev1.Pod) *corev1.Pod {
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{
		RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	for n := range pod.Spec.Containers {
		pod.Spec.Containers[n].SecurityContext = &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}
	}
	return pod
}

// testOwnPods: PodSecurity and the quota let the Deployment's pods in, and
// nothing that is less careful.
func testOwnPods(t *testing.T, i *installation) {
	quotas := i.Client().CoreV1().ResourceQuotas(ownNamespace)
	quota, err := quotas.Get(t.Context(), "issuer-sync-critical-pods", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// What the controller-manager does.
	quota.Status = corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: corev1.ResourceList{corev1.ResourcePods: {}}}
	if _, err := quotas.UpdateStatus(t.Context(), quota, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ownNamespace, Name: "pod", Labels: i.deployment.Spec.Template.Labels},
		Spec:       *i.deployment.Spec.Template.Spec.DeepCopy(),
	}
	eventually(t, "the quota to be known", patience, func() bool {
		_, err = i.Client().CoreV1().Pods(ownNamespace).Create(t.Context(), pod, dryRun())
		return err == nil || !strings.Contains(err.Error(), "status unknown for quota")
	})
	if err != nil {
		t.Errorf("a pod of the Deployment: %v", err)
	}
	pod.Spec.Containers[0].SecurityContext.Capabilities = nil
	if _, err = i.Client().CoreV1().Pods(ownNamespace).Create(t.Context(), pod, dryRun()); err == nil || !strings.Contains(err.Error(), "unrestricted capabilities") {
		t.Errorf("a pod that drops no capabilities: %v", err)
	}
}
