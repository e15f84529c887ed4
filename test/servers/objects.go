package servers

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// populate makes what tests take for granted and other components make in a
// whole cluster.
func (k *Kube) populate(ctx context.Context) error {
	// The API servers make the namespace default themselves, after they are ready.
	err := await(ctx, nil, func(ctx context.Context) error {
		return k.ensureServiceAccount(ctx, metav1.NamespaceDefault, "default")
	})
	if err != nil {
		return fmt.Errorf("making the default ServiceAccount: %w", err)
	}
	slices := k.Client().DiscoveryV1().EndpointSlices(metav1.NamespaceDefault)
	if _, err := slices.Create(ctx, k.endpointSlice(), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("making the EndpointSlice of the API servers: %w", err)
	}
	return nil
}

// endpointSlice is shaped as kube-apiserver's own (Kubernetes
// pkg/controlplane/reconcilers/endpointsadapter.go).
func (k *Kube) endpointSlice() *discoveryv1.EndpointSlice {
	endpoints := make([]discoveryv1.Endpoint, 0, len(k.servers))
	for i := range k.servers {
		endpoints = append(endpoints, discoveryv1.Endpoint{
			Addresses:  []string{publishedIP(i)},
			Conditions: discoveryv1.EndpointConditions{Ready: new(true)},
		})
	}
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name:   "kubernetes",
			Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   endpoints,
		Ports:       []discoveryv1.EndpointPort{{Name: new("https"), Port: new(int32(publishedPort)), Protocol: new(corev1.ProtocolTCP)}},
	}
}

func (k *Kube) ensureNamespace(ctx context.Context, name string) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	_, err := k.Client().CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
	return ignoreExisting(err)
}

func (k *Kube) ensureServiceAccount(ctx context.Context, namespace, name string) error {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	_, err := k.Client().CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{})
	return ignoreExisting(err)
}

func ignoreExisting(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// ServiceAccount returns a configuration for the first server as a
// ServiceAccount, which it makes if it is missing, and its namespace too. The
// token comes from TokenRequest, is meant for the API, and lasts an hour; the
// account has the rights that RBAC gives every ServiceAccount, and no more.
func (k *Kube) ServiceAccount(t testing.TB, namespace, name string) *rest.Config {
	t.Helper()
	token, err := k.requestToken(t.Context(), namespace, name)
	if err != nil {
		t.Fatalf("making ServiceAccount %s/%s: %v", namespace, name, err)
	}
	return &rest.Config{
		Host:            "https://" + k.servers[0].Address(),
		BearerToken:     token,
		TLSClientConfig: rest.TLSClientConfig{CAFile: k.authority.File},
	}
}

func (k *Kube) requestToken(ctx context.Context, namespace, name string) (string, error) {
	if err := k.ensureNamespace(ctx, namespace); err != nil {
		return "", err
	}
	if err := k.ensureServiceAccount(ctx, namespace, name); err != nil {
		return "", err
	}
	accounts := k.Client().CoreV1().ServiceAccounts(namespace)
	request, err := accounts.CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return request.Status.Token, nil
}

// Kubeconfig returns the path of a kubeconfig file for [Kube.Config].
func (k *Kube) Kubeconfig(t testing.TB) string {
	t.Helper()
	return writeKubeconfig(t, k.Config())
}

// ServiceAccountKubeconfig returns the path of a kubeconfig file for
// [Kube.ServiceAccount].
func (k *Kube) ServiceAccountKubeconfig(t testing.TB, namespace, name string) string {
	t.Helper()
	return writeKubeconfig(t, k.ServiceAccount(t, namespace, name))
}

func writeKubeconfig(t testing.TB, config *rest.Config) string {
	t.Helper()
	const name = "test"
	file := clientcmdapi.NewConfig()
	file.Clusters[name] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthority: config.CAFile}
	file.AuthInfos[name] = &clientcmdapi.AuthInfo{
		Token:                 config.BearerToken,
		ClientCertificateData: config.CertData,
		ClientKeyData:         config.KeyData,
	}
	file.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	file.CurrentContext = name
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*file, path); err != nil {
		t.Fatalf("writing a kubeconfig: %v", err)
	}
	return path
}
