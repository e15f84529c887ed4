package servingcert

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/issuer-sync/issuer-sync/internal/kube"
)

// Where the API server has the two kinds.
const (
	secretsAPI  = "/api/v1"
	webhooksAPI = "/apis/admissionregistration.k8s.io/v1"
)

// errMoved is for a write that came too late: the object is not what was read.
var errMoved = errors.New("somebody else changed the object")

// What is done with an object, in errors.
const (
	reading  = "reading"
	changing = "changing"
)

// readSecret reads the Secret as it is in etcd: without a resourceVersion in the
// request no cache answers. The same goes for readWebhooks.
func (c *Certificate) readSecret(ctx context.Context) (*corev1.Secret, error) {
	var secret corev1.Secret
	if err := do(ctx, c.secretRequest(c.config.Client.Get()), &secret); err != nil {
		return nil, c.explainSecret(reading, err)
	}
	return &secret, nil
}

// writeSecret changes the Secret if it still has this version. A merge patch
// (RFC 7386) leaves alone what it does not name, and removes what is null.
func (c *Certificate) writeSecret(ctx context.Context, version string, data map[string][]byte) error {
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{
			"resourceVersion": version,
			"annotations":     map[string]string{markAnnotation: "made by the webhook, which may overwrite them"},
		},
		"data": data,
	})
	if err != nil {
		return fmt.Errorf("encoding the Secret: %w", err)
	}
	err = do(ctx, c.secretRequest(c.config.Client.Patch(types.MergePatchType)).Body(body), new(corev1.Secret))
	return c.explainSecret(changing, err)
}

func (c *Certificate) secretRequest(request *rest.Request) *rest.Request {
	return request.AbsPath(secretsAPI).Namespace(c.config.Secret.Namespace).Resource("secrets").Name(c.config.Secret.Name)
}

// readWebhooks reads the MutatingWebhookConfiguration.
func (c *Certificate) readWebhooks(ctx context.Context) (*admissionregistrationv1.MutatingWebhookConfiguration, error) {
	var configuration admissionregistrationv1.MutatingWebhookConfiguration
	err := do(ctx, c.webhooksRequest(c.config.Client.Get()), &configuration)
	if err == nil && len(configuration.Webhooks) == 0 {
		err = errors.New("it has no webhooks")
	}
	if err != nil {
		return nil, c.explainWebhooks(reading, err)
	}
	return &configuration, nil
}

// withoutBundle returns the names of the webhooks that have another caBundle.
func withoutBundle(configuration *admissionregistrationv1.MutatingWebhookConfiguration, bundle []byte) []string {
	var names []string
	for _, webhook := range configuration.Webhooks {
		if !bytes.Equal(webhook.ClientConfig.CABundle, bundle) {
			names = append(names, webhook.Name)
		}
	}
	return names
}

// writeBundle gives all webhooks the caBundle if the configuration is still as it
// was read. A strategic merge patch finds webhooks by name, and leaves alone what
// it does not name, fields that this program does not know included.
func (c *Certificate) writeBundle(ctx context.Context, read *admissionregistrationv1.MutatingWebhookConfiguration, bundle []byte) error {
	var patches []any
	for _, name := range withoutBundle(read, bundle) {
		patches = append(patches, map[string]any{"name": name, "clientConfig": map[string]any{"caBundle": bundle}})
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": read.ResourceVersion}, "webhooks": patches})
	if err != nil {
		return fmt.Errorf("encoding the caBundle: %w", err)
	}
	err = do(ctx, c.webhooksRequest(c.config.Client.Patch(types.StrategicMergePatchType)).Body(body), new(admissionregistrationv1.MutatingWebhookConfiguration))
	return c.explainWebhooks(changing, err)
}

func (c *Certificate) webhooksRequest(request *rest.Request) *rest.Request {
	return request.AbsPath(webhooksAPI).Resource("mutatingwebhookconfigurations").Name(c.config.WebhookConfiguration)
}

// do sends a request once: the next look is the retry.
func do(ctx context.Context, request *rest.Request, answer kube.Object) error {
	err := kube.Do(ctx, request, answer)
	if apierrors.IsConflict(err) {
		return errMoved
	}
	return err
}

// explainSecret adds what was being done, and the cure where an operator has one.
func (c *Certificate) explainSecret(doing string, err error) error {
	if err == nil {
		return nil
	}
	name := c.config.Secret
	explained := fmt.Errorf("%s Secret %s: %w", doing, name, err)
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w: allow it with a Role in namespace %q that has the rule "+
			`{apiGroups: [""], resources: [secrets], resourceNames: [%q], verbs: [get, patch]}`, explained, name.Namespace, name.Name)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w: create it with `kubectl --namespace %s create secret generic %s`", explained, name.Namespace, name.Name)
	default:
		return explained
	}
}

// explainWebhooks is explainSecret for the MutatingWebhookConfiguration.
func (c *Certificate) explainWebhooks(doing string, err error) error {
	if err == nil {
		return nil
	}
	name := c.config.WebhookConfiguration
	explained := fmt.Errorf("%s MutatingWebhookConfiguration %s: %w", doing, name, err)
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w: allow it with a ClusterRole that has the rule {apiGroups: [admissionregistration.k8s.io], "+
			"resources: [mutatingwebhookconfigurations], resourceNames: [%q], verbs: [get, patch]}", explained, name)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w: create it, without a caBundle", explained)
	default:
		return explained
	}
}
