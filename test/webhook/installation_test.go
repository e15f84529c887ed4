package webhook_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/issuer-sync/issuer-sync/test/servers"
)

// Names of the installation.
const (
	ownNamespace = "issuer-sync"
	name         = "issuer-sync-webhook"
)

// installation is a control plane and what is installed on it.
type installation struct {
	*servers.Kube
	objects    []*unstructured.Unstructured // as rendered
	deployment appsv1.Deployment
	service    *service
	replicas   []*replica // all that were started
}

// newInstallation starts a control plane for the objects of a folder of deploy/,
// and installs those that do not depend on any other.
//
// Cluster IPs are loopback addresses, so that the API server calls the Service
// as it does in a cluster, which is not how it calls a URL: it looks up the
// Service, expects its DNS name in the certificate, and speaks HTTP/1.1
// (Kubernetes apiserver, pkg/util/webhook/client.go).
func newInstallation(t *testing.T, folder string, settings ...string) *installation {
	t.Helper()
	i := &installation{objects: render(t, folder, settings...)}
	i.Kube = servers.StartKube(t, servers.KubeConfig{Servers: []servers.ServerConfig{{
		ExtraArgs: []string{
			"--service-cluster-ip-range=127.78.0.0/16",
			"--allow-privileged", // azure-workload-identity's init container is; kubeadm allows it too
			"--feature-gates=ContainerStopSignals=true,PodCertificateRequest=true," + // for newFields
				"ClusterTrustBundle=true,ClusterTrustBundleProjection=true", // for the custom token endpoint's CA
		},
	}}})
	for _, kind := range []string{"Namespace", "Service"} {
		i.install(t, kind, "")
	}
	deployed, err := i.Client().CoreV1().Services(ownNamespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	i.service = newService(t, deployed.Spec.ClusterIP)
	i.movePort(t)
	return i
}

// movePort changes the two objects that name the Service's port, 443.
func (i *installation) movePort(t *testing.T) {
	t.Helper()
	for _, object := range i.objects {
		var list []any
		switch object.GetKind() {
		case "Service":
			list, _, _ = unstructured.NestedSlice(object.Object, "spec", "ports")
			list[0].(map[string]any)["port"] = i.service.port()
			_ = unstructured.SetNestedSlice(object.Object, list, "spec", "ports")
			i.apply(t, object)
		case "MutatingWebhookConfiguration":
			list, _, _ = unstructured.NestedSlice(object.Object, "webhooks")
			if err := unstructured.SetNestedField(list[0].(map[string]any), i.service.port(), "clientConfig", "service", "port"); err != nil {
				t.Fatal(err)
			}
			_ = unstructured.SetNestedSlice(object.Object, list, "webhooks")
		case "Deployment":
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &i.deployment); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// install applies the objects of a kind, or of all kinds but those of
// cert-manager, which is not here, and but the ones left out; and with a name
// that one alone.
func (i *installation) install(t *testing.T, kind, name string, except ...string) {
	t.Helper()
	applied := 0
	for _, object := range i.objects {
		switch {
		case kind != "" && kind != object.GetKind(), name != "" && name != object.GetName(), slices.Contains(except, object.GetKind()):
		case object.GroupVersionKind().Group == "cert-manager.io":
		default:
			i.apply(t, object)
			applied++
		}
	}
	if applied == 0 {
		t.Fatalf("installing %s %s: there is no such object", kind, name)
	}
}

// apply does what kubectl apply --server-side does. A field that the API does
// not have is a fault.
func (i *installation) apply(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	if err := i.tryApply(t.Context(), object); err != nil {
		t.Fatalf("applying %s %s: %v", object.GetKind(), object.GetName(), err)
	}
}

func (i *installation) tryApply(ctx context.Context, object *unstructured.Unstructured) error {
	client, err := i.resource(object)
	if err != nil {
		return err
	}
	body, err := object.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = client.Patch(ctx, object.GetName(), types.ApplyPatchType, body,
		metav1.PatchOptions{FieldManager: "test", FieldValidation: metav1.FieldValidationStrict})
	return err
}

// resource returns a client for objects of this kind and namespace.
func (i *installation) resource(object *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	groups, err := restmapper.GetAPIGroupResources(discovery.NewDiscoveryClient(i.Client().Discovery().RESTClient()))
	if err != nil {
		return nil, err
	}
	kind := object.GroupVersionKind()
	mapping, err := restmapper.NewDiscoveryRESTMapper(groups).RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	client, err := dynamic.NewForConfig(i.Config())
	if err != nil {
		return nil, err
	}
	return client.Resource(mapping.Resource).Namespace(object.GetNamespace()), nil
}

// configuration is the MutatingWebhookConfiguration as it is now.
func (i *installation) configuration(t *testing.T) *admissionregistrationv1.MutatingWebhookConfiguration {
	t.Helper()
	found, err := i.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func (i *installation) bundle(t *testing.T) []byte {
	t.Helper()
	return i.configuration(t).Webhooks[0].ClientConfig.CABundle
}

// settings is the environment of the Deployment's container, from the objects
// that it names.
func (i *installation) settings(t *testing.T) []string {
	t.Helper()
	container := i.deployment.Spec.Template.Spec.Containers[0]
	var variables []string
	for _, source := range container.EnvFrom {
		settings, err := i.Client().CoreV1().ConfigMaps(ownNamespace).Get(t.Context(), source.ConfigMapRef.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range settings.Data {
			variables = append(variables, name+"="+value)
		}
	}
	for _, variable := range container.Env {
		value := variable.Value
		if from := variable.ValueFrom; from != nil {
			if from.FieldRef == nil || from.FieldRef.FieldPath != "metadata.namespace" {
				t.Fatalf("variable %s: this test knows no such source", variable.Name)
			}
			value = ownNamespace
		}
		variables = append(variables, variable.Name+"="+value)
	}
	return variables
}

// makeNamespace makes a namespace with labels, and in it the ServiceAccount "app"
// with annotations.
func (i *installation) makeNamespace(t *testing.T, name string, labels, annotations map[string]string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if _, err := i.Client().CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "app", Annotations: annotations}}
	if _, err := i.Client().CoreV1().ServiceAccounts(name).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// create creates any object of a core kind as it is, and decodes the answer.
// Warnings are those of the API server and of webhooks.
func (i *installation) create(t *testing.T, resource string, object *unstructured.Unstructured, options metav1.CreateOptions) (answer *unstructured.Unstructured, warnings []string, err error) {
	t.Helper()
	config := i.Config()
	config.WarningHandler = warningFunc(func(text string) { warnings = append(warnings, text) })
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	answer, err = client.Resource(corev1.SchemeGroupVersion.WithResource(resource)).Namespace(object.GetNamespace()).Create(t.Context(), object, options)
	return answer, warnings, err
}

type warningFunc func(text string)

func (f warningFunc) HandleWarningHeader(code int, _ string, text string) {
	if code != 299 { // "miscellaneous persistent warning", RFC 7234 section 5.5.7
		text = fmt.Sprintf("%d %s", code, text)
	}
	f(text)
}

var _ rest.WarningHandler = warningFunc(nil)
