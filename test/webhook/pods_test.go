package webhook_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	useLabel           = "azure.workload.identity/use"
	clientIDAnnotation = "azure.workload.identity/client-id"
	clientID           = "11111111-2222-3333-4444-555555555555"
	tokenVolume        = "azure-identity-token"
	tokenDirectory     = "/var/run/secrets/azure/tokens"
)

func withClientID() map[string]string { return map[string]string{clientIDAnnotation: clientID} }

// labelled returns a pod that asks for an identity.
func labelled(namespace, name string) *corev1.Pod {
	pod := unlabelled(namespace, name)
	pod.Labels = map[string]string{useLabel: "true"}
	return pod
}

func unlabelled(namespace, name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PodSpec{
			ServiceAccountName: "app",
			Containers:         []corev1.Container{{Name: "app", Image: "registry.example/app:1"}},
		},
	}
}

// createPod creates a pod, and wants it mutated if it is labelled.
func createPod(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod, options metav1.CreateOptions) error {
	created, err := client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, options)
	if err != nil || pod.Labels[useLabel] == "" {
		return err
	}
	return checkMutated(created)
}

// checkMutated wants the token in each container, once, and the client ID.
func checkMutated(pod *corev1.Pod) error {
	volumes := 0
	for _, volume := range pod.Spec.Volumes {
		if volume.Name == tokenVolume {
			volumes++
		}
	}
	if volumes != 1 {
		return fmt.Errorf("pod %s has %d volumes for the token", pod.Name, volumes)
	}
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		mounts := 0
		for _, mount := range container.VolumeMounts {
			if mount.Name == tokenVolume && mount.MountPath == tokenDirectory && mount.ReadOnly {
				mounts++
			}
		}
		if mounts != 1 || !slices.Contains(container.Env, corev1.EnvVar{Name: "AZURE_CLIENT_ID", Value: clientID}) {
			return fmt.Errorf("container %s of pod %s has %d mounts of the token and variables %v", container.Name, pod.Name, mounts, container.Env)
		}
	}
	return nil
}

func dryRun() metav1.CreateOptions { return metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}} }

// loadBurst is how many pods a load creates at once. The API server keeps 25 idle
// connections to a webhook (client-go transport/cache.go, idleConnsPerHost), so
// that each burst opens new ones, to any replica, with its certificate of now.
const loadBurst = 40

// Periods of a load.
const (
	steady   = time.Second / 2  // 80 pods a second
	unending = time.Millisecond // each burst follows on the one before
)

// load is pods that are created on and on.
type load struct {
	installation *installation
	started      time.Time
	connections  int64 // of the service, at the start
	cancel       context.CancelFunc
	ended        chan struct{}

	mu       sync.Mutex // guards what follows
	sent     int
	slowest  time.Duration
	failures []string
}

// load starts to create labelled pods in namespace "load", without keeping them.
// It is to be stopped.
func (i *installation) load(t *testing.T, period time.Duration) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{installation: i, started: time.Now(), connections: i.service.connections.Load(), cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(l.ended)
		ticker := time.NewTicker(period)
		defer ticker.Stop()
		for ctx.Err() == nil {
			var burst sync.WaitGroup
			for range loadBurst {
				burst.Go(func() { l.create(context.WithoutCancel(ctx)) })
			}
			burst.Wait()
			<-ticker.C
		}
	}()
	return l
}

func (l *load) create(ctx context.Context) {
	started := time.Now()
	err := createPod(ctx, l.installation.Client(), labelled("load", "pod"), dryRun())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	l.slowest = max(l.slowest, time.Since(started))
	if err != nil {
		l.failures = append(l.failures, started.Format("15:04:05.000 ")+err.Error())
	}
}

// goOn waits for two more bursts.
func (l *load) goOn(t *testing.T) {
	t.Helper()
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.sent
	}
	enough := count() + 2*loadBurst
	eventually(t, "more pods", patience, func() bool { return count() >= enough })
}

// stop ends the load, and fails the test if a pod was refused or not mutated.
func (l *load) stop(t *testing.T) {
	t.Helper()
	l.cancel()
	<-l.ended
	took := time.Since(l.started)
	connections := l.installation.service.connections.Load() - l.connections
	t.Logf("%d pods in %.1f s over %d connections, %d failures, the slowest took %s",
		l.sent, took.Seconds(), connections, len(l.failures), l.slowest.Round(time.Millisecond))
	if len(l.failures) > 0 {
		t.Errorf("%d of %d pods failed, the first: %s", len(l.failures), l.sent, l.failures[0])
	}
	// A quarter of a steady load: a machine with few CPUs may be busy with other tests.
	if seconds := took.Seconds(); float64(l.sent) < 20*seconds || float64(connections) < seconds {
		t.Errorf("%d pods over %d connections in %s: that is no load", l.sent, connections, took)
	}
}

// awaitReachable waits until the API server knows the webhook, its Service and
// its CA.
func (i *installation) awaitReachable(t *testing.T) {
	t.Helper()
	var err error
	defer func() {
		if err != nil {
			t.Logf("the last answer: %v", err)
		}
	}()
	eventually(t, "the API server to reach the webhook", patience, func() bool {
		err = createPod(t.Context(), i.Client(), labelled("load", "first"), dryRun())
		return err == nil
	})
}
