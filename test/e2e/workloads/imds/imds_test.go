package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/test/e2e/workloads/load"
	"github.com/issuer-sync/issuer-sync/test/program"
)

func TestMain(m *testing.M) { program.Main(m) }

// endpoint answers as the metadata endpoint does, but every third request.
type endpoint struct {
	*httptest.Server
	signer jose.Signer

	mu    sync.Mutex // guards what follows
	asked []request
}

type request struct{ url, resource, metadata string }

// newEndpoint serves with what wrap makes of the endpoint.
func newEndpoint(t *testing.T, wrap func(*endpoint) http.HandlerFunc) *endpoint {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: keytest.RSA(t, 1)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := &endpoint{signer: signer}
	e.Server = httptest.NewServer(wrap(e))
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) handler() http.HandlerFunc { return e.answer }

func (e *endpoint) answer(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.asked = append(e.asked, request{r.URL.String(), r.FormValue("resource"), r.Header.Get("Metadata")})
	n := len(e.asked)
	e.mu.Unlock()
	if n%3 == 0 {
		http.Error(w, "too busy", http.StatusServiceUnavailable)
		return
	}
	claims := map[string]any{"appid": "the-app", "aud": r.FormValue("resource")}
	token, err := jwt.Signed(e.signer).Claims(claims).Serialize()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, `{"access_token": %q, "expires_on": "1"}`, token)
}

func (e *endpoint) requests() []request {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.asked
}

func (e *endpoint) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program.Build(t, "test/e2e/workloads/imds"), args...)
	cmd.Env = []string{"AZURE_POD_IDENTITY_AUTHORITY_HOST=" + e.URL + "/"}
	return cmd
}

func TestOneToken(t *testing.T) {
	e := newEndpoint(t, (*endpoint).handler)
	out, err := e.command(t, "-resource", "https://vault.azure.net", "-client-id", "the-client").CombinedOutput()
	if line := "appid=the-app aud=https://vault.azure.net\n"; err != nil || string(out) != line {
		t.Errorf("got %q, error %v; want %q", out, err, line)
	}
	want := request{
		"/metadata/identity/oauth2/token?api-version=2018-02-01&client_id=the-client&resource=https%3A%2F%2Fvault.azure.net",
		"https://vault.azure.net", "true",
	}
	if got := e.requests()[0]; got != want {
		t.Errorf("asked %q; want %q", got, want)
	}
}

func TestTokenForAnotherResource(t *testing.T) {
	e := newEndpoint(t, func(e *endpoint) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			r.URL.RawQuery = "resource=https://other.example"
			e.answer(w, r)
		}
	})
	out, err := e.command(t).CombinedOutput()
	if want := []byte(`an access token for "https://other.example"; want one for "https://management.azure.com/"`); err == nil || !bytes.Contains(out, want) {
		t.Errorf("got %q, error %v; want %q", out, err, want)
	}
}

func TestLoopUntilStopped(t *testing.T) {
	ready := make(chan struct{})
	var once sync.Once
	e := newEndpoint(t, func(e *endpoint) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if e.answer(w, r); len(e.requests()) >= 6 {
				once.Do(func() { close(ready) })
			}
		}
	})
	cmd := e.command(t, "-every", "1ms", "-fresh")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-ready
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(stdout).ReadBytes('\n') // what is missing does not decode
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v; want none", err)
	}
	var got load.Summary
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	asked := e.requests()
	if got.OK+got.Failed != len(asked) || got.Failed != len(asked)/3 {
		t.Errorf("got %+v; want a third of %d requests failed", got, len(asked))
	}
	resources := map[string]int{}
	for _, r := range asked {
		resources[r.resource]++
	}
	if len(resources) != len(asked) {
		t.Errorf("%d requests name %d resources; want another one each", len(asked), len(resources))
	}
	const want = "asking for an access token: 503 Service Unavailable: too busy\n"
	if diff := cmp.Diff(want, got.Errors[0][len("15:04:05.000 "):]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
