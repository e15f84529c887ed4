package load_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// kinds of pods, by the webhook that they go through.
const (
	throughNone = iota
	throughBare
	throughOurs
	kinds
)

// webhookLabel chooses the webhook of a pod.
const webhookLabel = "webhook"

// register has the API server call a webhook for pods with its label, in all
// else as deploy/webhook has it.
func (c *cluster) register(b *testing.B, label, address string, bundle []byte) {
	b.Helper()
	_, err := c.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Create(b.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: label},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name:                    label + ".azure-workload-identity.io",
			ClientConfig:            admissionregistrationv1.WebhookClientConfig{URL: new("https://" + address + reviewPath), CABundle: bundle},
			AdmissionReviewVersions: []string{"v1"},
			SideEffects:             new(admissionregistrationv1.SideEffectClassNone),
			FailurePolicy:           new(admissionregistrationv1.Fail),
			TimeoutSeconds:          new(int32(5)),
			ReinvocationPolicy:      new(admissionregistrationv1.IfNeededReinvocationPolicy),
			ObjectSelector:          &metav1.LabelSelector{MatchLabels: map[string]string{webhookLabel: label}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		b.Fatal(err)
	}
}

// podsOfAllKinds returns the same pod for each webhook.
func podsOfAllKinds(b *testing.B) [kinds][]byte {
	b.Helper()
	var bodies [kinds][]byte
	for kind, label := range [kinds]string{"none", "bare", "ours"} {
		var pod corev1.Pod
		if err := json.Unmarshal(benchPod(b), &pod); err != nil {
			b.Fatal(err)
		}
		pod.Labels[webhookLabel] = label
		body, err := json.Marshal(&pod)
		if err != nil {
			b.Fatal(err)
		}
		bodies[kind] = body
	}
	return bodies
}

// comparePods reports what the two webhooks add to the latency of a pod's
// creation: the difference of medians to pods that go through none. Creations
// of all kinds take turns, in a new order in each round.
func (c *cluster) comparePods(b *testing.B, clients int) {
	rounds := 1200 / clients
	bodies := podsOfAllKinds(b)
	for kind := range bodies {
		c.awaitRegistered(b, bodies[kind], kind != throughNone)
	}
	took := make([][kinds][]time.Duration, clients)
	for b.Loop() {
		group, ctx := errgroup.WithContext(b.Context())
		for n := range clients {
			client := c.newClient(b)
			group.Go(func() error {
				for range rounds {
					for _, kind := range rand.Perm(kinds) {
						started := time.Now()
						answer, err := create(client, bodies[kind]).Do(ctx).Raw()
						took[n][kind] = append(took[n][kind], time.Since(started))
						if err == nil {
							err = checkCreated(answer, kind != throughNone)
						}
						if err != nil {
							return err
						}
					}
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			b.Fatal(err)
		}
	}
	var medians [kinds]float64
	for kind := range medians {
		var all []time.Duration
		for n := range clients {
			all = append(all, took[n][kind]...)
		}
		slices.Sort(all)
		medians[kind] = all[len(all)/2].Seconds()
	}
	added, bareAdded := medians[throughOurs]-medians[throughNone], medians[throughBare]-medians[throughNone]
	b.ReportMetric(added/bareAdded, "added/bare")
	b.ReportMetric(added*1e3, "added-ms")
	b.ReportMetric(medians[throughNone]*1e3, "without-ms")
	b.ReportMetric(0, "ns/op") // means nothing here
}

// create asks the API server what would be created. Nothing is kept, so that
// the thousandth pod is created as fast as the first.
func create(client rest.Interface, body []byte) *rest.Request {
	return client.Post().Namespace(namespace).Resource("pods").Param("dryRun", metav1.DryRunAll).
		SetHeader("Content-Type", "application/json").SetHeader("Accept", "application/json").Body(body)
}

func checkCreated(pod []byte, mutated bool) error {
	if bytes.Contains(pod, []byte(`"AZURE_CLIENT_ID"`)) != mutated {
		return fmt.Errorf("mutated: %t, want %t: %s", !mutated, mutated, pod)
	}
	return nil
}

// awaitRegistered waits until the API server knows the webhooks.
func (c *cluster) awaitRegistered(b *testing.B, body []byte, mutated bool) {
	b.Helper()
	client := c.newClient(b)
	for deadline := time.Now().Add(patience); ; {
		answer, err := create(client, body).Do(b.Context()).Raw()
		if err == nil {
			err = checkCreated(answer, mutated)
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			b.Fatal(err)
		}
	}
}

// newClient returns a client with a connection of its own.
func (c *cluster) newClient(b *testing.B) rest.Interface {
	b.Helper()
	config := c.Config()
	config.WarningHandler = rest.NoWarnings{} // the pod gives cause, whatever it goes through
	config.Dial = new(net.Dialer).DialContext // or client-go would share a connection
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		b.Fatal(err)
	}
	return client.CoreV1().RESTClient()
}
