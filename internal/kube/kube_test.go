package kube_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/issuer-sync/issuer-sync/internal/kube"
)

// kubeconfig writes one with the context "dev", the current one, and "prod".
func kubeconfig(t *testing.T, dev, prod clientcmdapi.Cluster) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["dev"], config.Clusters["prod"] = &dev, &prod
	config.Contexts["dev"], config.Contexts["prod"] = &clientcmdapi.Context{Cluster: "dev"}, &clientcmdapi.Context{Cluster: "prod"}
	config.CurrentContext = "dev"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestConfigTakesTheContext(t *testing.T) {
	file := kubeconfig(t, clientcmdapi.Cluster{Server: "https://dev.test"}, clientcmdapi.Cluster{Server: "https://prod.test"})
	for context, want := range map[string]string{"": "https://dev.test", "prod": "https://prod.test"} {
		config, err := kube.Config(kube.Connection{Kubeconfig: file, Context: context, UserAgent: "us"})
		if err != nil || config.Host != want || config.UserAgent != "us" {
			t.Errorf("context %q: %v, %v", context, config, err)
		}
	}
}

func TestConfigTakesTheProxyOfTheKubeconfigFirst(t *testing.T) {
	ours := func(*http.Request) (*url.URL, error) { return &url.URL{Host: "ours"}, nil }
	file := kubeconfig(t, clientcmdapi.Cluster{Server: "https://dev.test"}, clientcmdapi.Cluster{Server: "https://prod.test", ProxyURL: "http://theirs"})
	for context, want := range map[string]string{"dev": "ours", "prod": "theirs"} {
		config, err := kube.Config(kube.Connection{Kubeconfig: file, Context: context, Proxy: ours})
		if err != nil {
			t.Fatal(err)
		}
		if proxy, err := config.Proxy(nil); err != nil || proxy.Host != want {
			t.Errorf("context %q: proxy %v, %v", context, proxy, err)
		}
	}
}

func TestConfigRefuses(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	good := clientcmdapi.Cluster{Server: "https://a.test"}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name       string
		connection kube.Connection
		want       string // FILE is the kubeconfig
	}{
		{
			"no pod and no kubeconfig",
			kube.Connection{},
			"reading the pod's service account: this process does not run in a pod; name a kubeconfig, or run it in the cluster",
		},
		{
			"a context of nothing",
			kube.Connection{Context: "prod"},
			`cluster context "prod": kubeconfig is missing; name the file that has this context`,
		},
		{
			"a missing kubeconfig",
			kube.Connection{Kubeconfig: "/nowhere/kubeconfig"},
			`reading kubeconfig "FILE": stat FILE: no such file or directory`,
		},
		{
			"an empty kubeconfig",
			kube.Connection{Kubeconfig: empty},
			`kubeconfig "FILE": context "" is not in it; want one of []`,
		},
		{
			"an unknown context",
			kube.Connection{Kubeconfig: kubeconfig(t, good, good), Context: "test"},
			`kubeconfig "FILE": context "test" is not in it; want one of ["dev" "prod"]`,
		},
		{
			"a server that nobody verifies",
			kube.Connection{Kubeconfig: kubeconfig(t, clientcmdapi.Cluster{Server: "https://a.test", InsecureSkipTLSVerify: true}, good)},
			`kubeconfig "FILE": insecure-skip-tls-verify is set: anybody could answer for the cluster; want certificate-authority`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := kube.Config(test.connection)
			if want := strings.ReplaceAll(test.want, "FILE", test.connection.Kubeconfig); err == nil || err.Error() != want {
				t.Errorf("got error %v\nwant      %s", err, want)
			}
		})
	}
}

// TestDo: an answer is an object that an API server stores, or an error that
// quotes nothing, and there is one try.
func TestDo(t *testing.T) {
	const object = `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"7"}}`
	const refusal = `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","reason":"TooManyRequests","details":{"retryAfterSeconds":1},"code":429}`
	for _, test := range []struct {
		name, kind, body string
		status           int
		want             string // error; "": none
	}{
		{"an object", "application/json", object, 200, ""},
		{"an object of nobody", "application/json", `{"kind":"ConfigMap","apiVersion":"v1"}`, 200, "the answer is not from a Kubernetes API server: it has no resourceVersion"},
		{"an empty object", "application/json", `{}`, 200, "the answer is not from a Kubernetes API server: it has no resourceVersion"},
		{"a refusal", "application/json", refusal, 429, "no"},
		{"somebody else's refusal", "text/html", "CANARY", 429, "answered 429 Too Many Requests, without a Status of Kubernetes"},
		{"a gateway", "text/html", "CANARY", 502, "answered 502 Bad Gateway, without a Status of Kubernetes"},
		{"somebody else's not found", "text/plain", "CANARY", 404, "answered 404 Not Found, without a Status of Kubernetes"},
		{"a redirect", "text/html", "CANARY", 302, "answered 302 Found, without a Status of Kubernetes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			asked := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				asked++
				w.Header().Set("Content-Type", test.kind)
				w.Header().Set("Location", "/elsewhere")
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(test.status)
				fmt.Fprint(w, test.body)
			}))
			defer server.Close()
			client, err := kube.NewClient(&rest.Config{Host: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			var answer corev1.ConfigMap
			err = kube.Do(t.Context(), client.Get().AbsPath("/api/v1/namespaces/b/configmaps/a"), &answer)
			if got := fmt.Sprint(err); got != test.want && (test.want != "" || err != nil) {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if test.want == "" && answer.Name != "a" {
				t.Errorf("answered %v", answer)
			}
			if foreign, ok := errors.AsType[*kube.ForeignAnswerError](err); ok && (foreign.Code != test.status || apierrors.IsNotFound(err)) {
				t.Errorf("%#v is taken for an API server's answer %d", err, test.status)
			}
			if wantsRest := test.status != http.StatusOK; (kube.RetryAfter(err) == time.Second) != wantsRest {
				t.Errorf("%v asks to be left alone for %s", err, kube.RetryAfter(err))
			}
			if asked != 1 {
				t.Errorf("asked %d times", asked)
			}
		})
	}
}
