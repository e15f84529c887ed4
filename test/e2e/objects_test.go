//go:build linux

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/issuer-sync/issuer-sync/test/node"
)

// asks is the label of pods that ask for an identity.
const asks = "azure.workload.identity/use"

// makeNamespace makes a namespace with the ServiceAccount app, which has a client
// ID if it is not empty; level is that of PodSecurity.
func (w *world) makeNamespace(t *testing.T, name, level, client string) {
	t.Helper()
	_, err := w.Client().CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": level},
	}}, metav1.CreateOptions{})
	if err == nil && client != "" {
		_, err = w.Client().CoreV1().ServiceAccounts(name).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
			Name: "app", Annotations: map[string]string{"azure.workload.identity/client-id": client},
		}}, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) makeSecret(t *testing.T, name string, kind corev1.SecretType, data map[string][]byte) {
	t.Helper()
	_, err := w.Client().CoreV1().Secrets(namespace).Create(t.Context(),
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Type: kind, Data: data}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) makeTLSSecret(t *testing.T, name, host string) {
	t.Helper()
	certificate, key := w.certificate(t, host)
	data := make(map[string][]byte)
	for entry, file := range map[string]string{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		data[entry] = content
	}
	w.makeSecret(t, name, corev1.SecretTypeTLS, data)
}

// workload is a pod to be.
type workload struct {
	namespace, name string
	annotations     map[string]string
	image           string
	args            []string
	env             []corev1.EnvVar
	// init has an init container do the same before.
	init bool
}

// template is the pod as its user would write it: nothing of the webhook's.
func (l workload) template() corev1.PodTemplateSpec {
	container := corev1.Container{
		Name: "app", Image: workloads + l.image + ":1", Args: l.args, Env: l.env,
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{asks: "true", "app": l.name}, Annotations: l.annotations},
		Spec: corev1.PodSpec{
			ServiceAccountName: "app", RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{container},
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: new(true), RunAsUser: new(int64(65532)),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
		},
	}
	if l.init {
		first := container
		first.Name = "before"
		template.Spec.InitContainers = []corev1.Container{first}
	}
	return template
}

// start creates the pod.
func (w *world) start(t *testing.T, l workload) {
	t.Helper()
	pod := podOf(l.template(), l.name)
	if _, err := w.Client().CoreV1().Pods(l.namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatalf("creating pod %s: %v", l.name, err)
	}
}

func podOf(template corev1.PodTemplateSpec, name string) *corev1.Pod {
	template.Name = name
	return &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
}

// runJob creates a Job that may not fail once, waits until it is complete, and
// returns its pod.
func (w *world) runJob(t *testing.T, l workload) corev1.Pod {
	t.Helper()
	jobs := w.Client().BatchV1().Jobs(l.namespace)
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: l.name}, Spec: batchv1.JobSpec{BackoffLimit: new(int32(0)), Template: l.template()}}
	if _, err := jobs.Create(t.Context(), job, metav1.CreateOptions{}); err != nil {
		t.Fatalf("creating Job %s: %v", l.name, err)
	}
	var failed error
	node.Await(t, patience, "Job "+l.name+" to be complete", func(ctx context.Context) error {
		job, err := jobs.Get(ctx, l.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range job.Status.Conditions {
			if condition.Status != corev1.ConditionTrue {
				continue
			}
			switch condition.Type {
			case batchv1.JobComplete:
				return nil
			case batchv1.JobFailed:
				failed = errors.New(condition.Message)
				return nil
			}
		}
		return fmt.Errorf("%+v", job.Status)
	})
	pods := w.pods(t, l.namespace, "app="+l.name)
	if failed != nil || len(pods) != 1 {
		t.Fatalf("Job %s: %v\n%s", l.name, failed, w.describe(t, l.namespace, pods))
	}
	return pods[0]
}

func (w *world) pods(t *testing.T, namespace, selector string) []corev1.Pod {
	t.Helper()
	list, err := w.Client().CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// logs returns what a container printed.
func (w *world) logs(t *testing.T, namespace, pod, container string) string {
	t.Helper()
	stream, err := w.Client().CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container}).Stream(t.Context())
	if err != nil {
		return err.Error()
	}
	defer func() { _ = stream.Close() }()
	content, err := io.ReadAll(stream)
	if err != nil {
		return err.Error()
	}
	return string(content)
}

// describe is what there is to know of pods when something is wrong.
func (w *world) describe(t *testing.T, namespace string, pods []corev1.Pod) string {
	t.Helper()
	var text string
	for _, pod := range pods {
		out, err := w.Kubectl(t.Context(), "--namespace", namespace, "describe", "pod", pod.Name).CombinedOutput()
		text += fmt.Sprintf("%s%v\n", out, err)
		for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
			text += fmt.Sprintf("log of %s/%s:\n%s\n", pod.Name, container.Name, w.logs(t, namespace, pod.Name, container.Name))
		}
	}
	return text
}
