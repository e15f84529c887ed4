package main

import (
	"bufio"
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
)

// A demo that stays up goes on publishing, its advice works, and it ends on
// SIGTERM without a trace.
func TestDemoKeep(t *testing.T) {
	temp := t.TempDir()
	// TestMain has put the program into PATH.
	demo := exec.CommandContext(t.Context(), "issuer-sync", "demo", "--keep")
	demo.Env = append(demo.Environ(), "TMPDIR="+temp)
	var stderr bytes.Buffer
	demo.Stderr = &stderr
	out, err := demo.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		demo.Process.Kill() //nolint:errcheck // it has ended, unless the test failed
	})

	said := readAdvice(t, out)
	jwks := regexp.MustCompile(`curl --cacert (\S+) (\S+/openid/v1/jwks)`).FindStringSubmatch(said)
	another := regexp.MustCompile(`(openssl .*\| openssl .* -out (\S+)) +#`).FindStringSubmatch(said)
	if jwks == nil || another == nil {
		t.Fatalf("no curl and openssl lines in:\n%s", said)
	}
	token := regexp.MustCompile(`curl -H Metadata:true '(\S+)'`).FindStringSubmatch(said)
	if token == nil {
		t.Fatalf("no curl line for the proxy in:\n%s", said)
	}
	askForToken(t, token[1])
	wantEnvironment(t, said)
	client := trusting(t, jwks[1])
	published := 2
	if _, err := exec.LookPath("openssl"); err != nil {
		if ci, _ := os.LookupEnv("CI"); ci == "true" { //nolint:forbidigo // a test has no main to be told by
			t.Fatalf("trying the demo's advice: %v; install openssl", err)
		}
		t.Logf("the demo's advice is not tried: %v; install openssl", err)
	} else {
		if out, err := exec.CommandContext(t.Context(), "sh", "-c", another[1]).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", another[1], err, out)
		}
		published++
		awaitKeys(t, client, jwks[2], published)
	}
	for i := range 15 { // more than any channel of the demo holds
		name := filepath.Join(filepath.Dir(another[2]), fmt.Sprintf("key%d.pub", i))
		if err := os.WriteFile(name, keytest.PublicPEM(t, keytest.EC(t, elliptic.P256()).Public()), 0o600); err != nil {
			t.Fatal(err)
		}
		published++
		awaitKeys(t, client, jwks[2], published)
	}
	client.CloseIdleConnections()

	if err := demo.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- demo.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("after SIGTERM: %v\n%s", err, &stderr)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the demo did not end within 10 s of SIGTERM")
	}
	left, err := os.ReadDir(temp)
	if err != nil || len(left) > 0 {
		t.Errorf("the demo left %v, %v", left, err)
	}
}

// readAdvice returns the output up to the last line of the advice.
func readAdvice(t *testing.T, out io.Reader) string {
	t.Helper()
	var said strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Fprintln(&said, lines.Text())
		if strings.Contains(lines.Text(), "AZURE_POD_IDENTITY_AUTHORITY_HOST=") {
			return said.String()
		}
	}
	t.Fatalf("the demo ended:\n%s", said.String())
	return ""
}

// wantEnvironment looks at what is advised for SDKs: each language has a variable
// of its own for the CA, and MSAL refuses authorities that Microsoft does not know.
func wantEnvironment(t *testing.T, said string) {
	t.Helper()
	var files []string
	for _, variable := range []string{"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"} {
		match := regexp.MustCompile(`export .*\b` + variable + `=(\S+)`).FindStringSubmatch(said)
		if match == nil {
			t.Fatalf("no %s in:\n%s", variable, said)
		}
		files = append(files, match[1])
	}
	pem, err := os.ReadFile(files[0])
	if err != nil || !x509.NewCertPool().AppendCertsFromPEM(pem) || len(slices.Compact(files)) != 1 {
		t.Errorf("%q: %v; want one file of a CA", files, err)
	}
	if !strings.Contains(said, "DisableInstanceDiscovery") {
		t.Errorf("nothing of DisableInstanceDiscovery in:\n%s", said)
	}
}

// askForToken does what the demo's advice for the proxy says.
func askForToken(t *testing.T, url string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Metadata", "true")
	request.Close = true
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer demoAnswer
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || response.StatusCode != http.StatusOK || answer.Resource != "https://vault.azure.net" {
		t.Errorf("%s: %s %v %s", url, response.Status, err, answer.Description)
	}
}

func trusting(t *testing.T, caFile string) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return clientTrusting(roots)
}

// awaitKeys waits until so many keys are served.
func awaitKeys(t *testing.T, client *http.Client, url string, want int) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		got := countKeys(t, client, url)
		if got == want {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%d keys are served; want %d", got, want)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func countKeys(t *testing.T, client *http.Client, url string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.NewDecoder(response.Body).Decode(&document); err != nil {
		t.Fatal(err)
	}
	return len(document.Keys)
}
