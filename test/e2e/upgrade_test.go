//go:build linux

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/issuer-sync/issuer-sync/test/node"
)

// upgrade goes to the current version while pods of the one before work.
func (w *world) upgrade(t *testing.T) {
	w.startWriter(t, "writer-of-"+previous)
	w.startAsker(t, "asker-of-"+previous)
	readers := w.readDocuments(t, w.serviceAddress(t, "issuer-sync"), ownServer+"/oidc", 20)
	creators := w.createPods(t, 5)
	w.helm(t, "upgrade", "issuer-sync", w.chart(t, current), "--reuse-values", "--wait", "--timeout", "3m")
	w.checkReady(t, current)
	readers.wantAllGood(t, "readers of the documents", 50)
	creators.wantAllGood(t, "creations of pods", 10)
	w.wantNoFailure(t, "writer-of-"+previous)
	w.wantNoFailure(t, "asker-of-"+previous)
	for _, pod := range w.pods(t, "shop", "app in (writer-of-"+previous+",asker-of-"+previous+")") {
		for _, status := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
			if status.RestartCount > 0 {
				t.Errorf("container %s of pod %s was started again", status.Name, pod.Name)
			}
		}
	}
	w.verify(t)
}

// createPods has the API server ask the webhook about pods that ask for an
// identity and are then not kept.
func (w *world) createPods(t *testing.T, perSecond int) *flood {
	t.Helper()
	return startFlood(t, perSecond, func(ctx context.Context, n int) error {
		return w.create(ctx, fmt.Sprintf("asks-%d", n), true)
	})
}

// create has the API server go through the creation of a pod and wants it as the
// webhook makes it, if it asks for an identity.
func (w *world) create(ctx context.Context, name string, asking bool) error {
	template := workload{namespace: "shop", name: name, image: "imds"}.template()
	pod := podOf(template, name)
	if !asking {
		delete(pod.Labels, asks)
	}
	created, err := w.Client().CoreV1().Pods("shop").Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		return err
	}
	mutated := false
	for _, variable := range created.Spec.Containers[0].Env {
		mutated = mutated || variable.Name == "AZURE_CLIENT_ID" && variable.Value == shopClient
	}
	if mutated != asking {
		return fmt.Errorf("mutated: %t; want %t", mutated, asking)
	}
	return nil
}

// uninstall removes the chart: what works goes on, and the documents stay.
func (w *world) uninstall(t *testing.T) {
	w.startWriter(t, "writer-at-the-end")
	w.startAsker(t, "asker-at-the-end")
	before := w.documents(t)
	w.helm(t, "uninstall", "issuer-sync", "--wait", "--timeout", "3m")
	node.Await(t, patience, "pods of the chart to be gone", func(ctx context.Context) error {
		list, err := w.Client().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err == nil && len(list.Items) > 0 {
			err = fmt.Errorf("%d are there", len(list.Items))
		}
		return err
	})
	if err := w.unasked(t.Context(), "not-mutated"); err != nil {
		t.Errorf("a pod with the label, when the webhook is gone: %v", err)
	}
	if diff := cmp.Diff(before, w.documents(t)); diff != "" {
		t.Errorf("the documents are others (-before +after):\n%s", diff)
	}
	w.wantNoFailure(t, "writer-at-the-end")
	w.wantNoFailure(t, "asker-at-the-end")
}

// documents are those in both stores.
func (w *world) documents(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, path := range []string{"/.well-known/openid-configuration", "/openid/v1/jwks"} {
		found["Blob storage "+path] = get(t, w.client(blobAddress), issuer+path)
	}
	object, err := w.Client().CoreV1().ConfigMaps(namespace).Get(t.Context(), "documents", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range object.Data {
		found["ConfigMap "+name] = content
	}
	for name, content := range object.BinaryData {
		found["ConfigMap "+name] = string(content)
	}
	if len(found) < 4 {
		t.Fatalf("documents in Blob storage and ConfigMap: %v; want two of each", found)
	}
	return found
}

// unasked wants a pod with the label to be let in as it is.
func (w *world) unasked(ctx context.Context, name string) error {
	pod := podOf(workload{namespace: "shop", name: name, image: "imds"}.template(), name)
	created, err := w.Client().CoreV1().Pods("shop").Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err == nil && len(created.Spec.Containers[0].Env) > 0 {
		err = fmt.Errorf("it has %v", created.Spec.Containers[0].Env)
	}
	return err
}

// refused reports whether an error is the API server's refusal for want of the
// webhook.
func refused(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && strings.Contains(err.Error(), "mutation.azure-workload-identity.io")
}
