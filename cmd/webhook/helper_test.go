package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/issuer-sync/issuer-sync/internal/command"
	"github.com/issuer-sync/issuer-sync/internal/selfcert"
)

// host is what API servers call the webhook under test.
const host = "issuer-sync-webhook.shop.svc"

// fakeAPI stands in for an API server of a version with one ServiceAccount,
// shop/app, which nothing happens to. test/webhook has a real one.
type fakeAPI struct {
	minor string
	// unsynced holds back the list of ServiceAccounts; unanswered, the version.
	unsynced, unanswered bool
}

func (f fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const kind = `"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata`
	w.Header().Set("Content-Type", "application/json")
	switch query := r.URL.Query(); {
	case r.URL.Path == "/version" && !f.unanswered:
		fmt.Fprintf(w, `{"major":"1","minor":%q}`, f.minor)
	case r.URL.Path == "/api/v1/serviceaccounts" && query.Get("sendInitialEvents") != "":
		w.WriteHeader(http.StatusUnprocessableEntity) // as servers without WatchList do
	case r.URL.Path == "/api/v1/serviceaccounts" && query.Get("watch") != "", f.unsynced:
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	case r.URL.Path == "/api/v1/serviceaccounts":
		fmt.Fprint(w, `{`+kind+`List","metadata":{"resourceVersion":"1"},"items":[{`+kind+`","metadata":{"name":"app","namespace":"shop",`+
			`"resourceVersion":"1","annotations":{"azure.workload.identity/client-id":"00000000-0000-0000-0000-000000000001"}}}]}`)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// kubeconfig starts the fake and returns how to reach it.
func (f fakeAPI) kubeconfig(t *testing.T) string {
	t.Helper()
	server := httptest.NewUnstartedServer(f)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	server.StartTLS()
	t.Cleanup(server.Close)
	config := clientcmdapi.NewConfig()
	config.Clusters["fake"] = &clientcmdapi.Cluster{Server: server.URL, CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})}
	config.Contexts["fake"] = &clientcmdapi.Context{Cluster: "fake"}
	config.CurrentContext = "fake"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// running is the command under test, in this process.
type running struct {
	stop  context.CancelFunc
	ended chan int // the exit code
	lines chan map[string]any
	seen  map[string]map[string]any // what was logged so far
}

// start runs the command until the test ends.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	logged, stderr := io.Pipe()
	r := &running{stop: stop, ended: make(chan int, 1), lines: make(chan map[string]any, 1000), seen: map[string]map[string]any{}}
	go func() {
		defer close(r.lines)
		for lines := bufio.NewScanner(logged); lines.Scan(); {
			line := map[string]any{}
			if json.Unmarshal(lines.Bytes(), &line) != nil {
				line["msg"] = lines.Text()
			}
			r.lines <- line
		}
	}()
	go func() {
		root := newRootCommand(nil) //nolint:contextcheck // Run hands the context on
		r.ended <- command.Run(ctx, root, args, io.Discard, stderr)
		_ = stderr.Close() // never an error
	}()
	t.Cleanup(func() {
		stop()
		for range r.lines { // until stderr is closed
		}
	})
	return r
}

// await returns once a line with each message was logged. That of a server is
// its name.
func (r *running) await(t *testing.T, messages ...string) {
	t.Helper()
	missing := func(message string) bool { return r.seen[message] == nil }
	for _, message := range messages {
		for missing(message) {
			line, ok := <-r.lines
			if !ok {
				t.Fatalf("ended without logging %q, but %v", message, r.seen)
			}
			name := fmt.Sprint(line["msg"])
			if name == "serving" {
				name = fmt.Sprint(line["server"])
			}
			r.seen[name] = line
		}
	}
}

func (r *running) address(server string) string { return fmt.Sprint(r.seen[server]["address"]) }

// ready asks as the kubelet does.
func (r *running) ready(t *testing.T) (int, string) {
	t.Helper()
	return call(t, http.DefaultTransport, http.MethodGet, "http://"+r.address("health")+"/readyz", "")
}

func call(t *testing.T, transport http.RoundTripper, method, url, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(content)
}

// write writes the files of a certificate; ca may be nil.
func write(t *testing.T, directory string, made *selfcert.Certificate, ca []byte) {
	t.Helper()
	for name, content := range map[string][]byte{"tls.crt": made.Cert, "tls.key": made.Key, "ca.crt": ca} {
		if content == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(directory, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// flags are those of a webhook with the certificate in a directory.
func flags(kubeconfig, directory string, more ...string) []string {
	return append([]string{
		"--tenant-id=contoso.com", "--namespace=shop", "--kubeconfig", kubeconfig, "--log-format=json", "--linger=0s",
		"--webhook-addr=127.0.0.1:0", "--health-addr=127.0.0.1:0", "--metrics-addr=127.0.0.1:0",
		"--disable-cert-rotation", "--webhook-cert-dir", directory,
	}, more...)
}

// client trusts the CA and speaks one version of TLS.
func client(ca []byte, version uint16) *http.Transport {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
		RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12, MaxVersion: version,
	}}
}

const review = `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","operation":"CREATE",
"resource":{"group":"","version":"v1","resource":"pods"},"namespace":"shop","object":{"kind":"Pod","apiVersion":"v1",
"metadata":{"name":"web","labels":{"azure.workload.identity/use":"true"},"annotations":{"azure.workload.identity/inject-proxy-sidecar":"true"}},
"spec":{"serviceAccountName":"app","containers":[{"name":"web"}]}}}}`

// containers returns the names of the pod's containers after a review, the init
// containers first.
func containers(t *testing.T, answer string) string {
	t.Helper()
	var in struct {
		Request struct{ Object json.RawMessage }
	}
	var out struct {
		Response struct {
			Allowed bool
			Patch   []byte
		}
	}
	if err := json.Unmarshal([]byte(review), &in); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(answer), &out); err != nil || !out.Response.Allowed {
		t.Fatalf("answered %s: %v", answer, err)
	}
	patch, err := jsonpatch.DecodePatch(out.Response.Patch)
	if err != nil {
		t.Fatal(err)
	}
	applied, err := patch.Apply(in.Request.Object)
	if err != nil {
		t.Fatal(err)
	}
	type named []struct{ Name string }
	var pod struct {
		Spec struct{ InitContainers, Containers named }
	}
	if err := json.Unmarshal(applied, &pod); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(applied, []byte("00000000-0000-0000-0000-000000000001")) {
		t.Errorf("the pod has not the ServiceAccount's client ID: %s", applied)
	}
	return fmt.Sprint(pod.Spec.InitContainers, pod.Spec.Containers)
}
