package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/entra"
)

const tokenPath = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"

// answer is what a client gets.
type answer struct {
	status      int
	AccessToken string `json:"access_token"`
	ClientID    string `json:"client_id"`
	Resource    string `json:"resource"`
	Description string `json:"error_description"`
}

// get asks a proxy at host for an access token, as SDKs do.
func (p *process) get(t *testing.T, host, more string) answer {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+net.JoinHostPort(host, p.port)+tokenPath+more, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Metadata", "true")
	response, err := client.Do(request)
	if err != nil {
		t.Error(err)
		return answer{}
	}
	defer response.Body.Close()
	a := answer{status: response.StatusCode}
	body, err := io.ReadAll(response.Body)
	if err == nil {
		err = json.Unmarshal(body, &a)
	}
	if err != nil {
		t.Errorf("reading %q: %v", body, err)
	}
	return a
}

func wantToken(t *testing.T, a answer) {
	t.Helper()
	if a.status != http.StatusOK || a.AccessToken == "" || a.ClientID != client || a.Resource != "https://vault.azure.net" {
		t.Errorf("got %+v; want an access token of client %s for https://vault.azure.net", a, client)
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	p := launch(t, c.environment("PROXY_ALLOWED_CLIENT_IDS="+client), "--log-level=debug")
	hosts := []string{"127.0.0.1"}
	if hasIPv6(t) {
		hosts = append(hosts, "::1")
	}
	var token string
	for _, host := range hosts {
		a := p.get(t, host, "")
		wantToken(t, a)
		token = a.AccessToken
	}
	if n := c.entra.Requests(); n != 1 {
		t.Errorf("%d exchanges for %d requests; want one, and a cache", n, len(hosts))
	}
	if a := p.get(t, "127.0.0.1", "&client_id="+other); a.status != http.StatusBadRequest && a.status != http.StatusForbidden {
		t.Errorf("a client ID that is not allowed: %+v; want it refused", a)
	}
	p.terminate(t)
	p.wantEnd(t)
	for _, host := range hosts {
		if line := "msg=serving server=\"the proxy\" address=" + net.JoinHostPort(host, p.port); !strings.Contains(strings.ReplaceAll(p.stderr.String(), `address="[`, "address=["), line) {
			t.Errorf("no line says %q", line)
		}
	}
	for _, secret := range []string{token, c.token} {
		if strings.Contains(p.stderr.String(), secret) {
			t.Error("a token is in the log")
		}
	}
}

func hasIPv6(t *testing.T) bool {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "[::1]:0")
	if err != nil {
		return false
	}
	defer listener.Close()
	return true
}

// On AKS, tokens are exchanged at an endpoint of the cluster that stands for
// the authority. With these variables nothing is asked of the authority itself.
func TestServeWithCustomEndpoint(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	p := launch(t, []string{
		"AZURE_TENANT_ID=" + tenant, "AZURE_CLIENT_ID=" + client, "AZURE_FEDERATED_TOKEN_FILE=" + c.tokenFile,
		"AZURE_AUTHORITY_HOST=https://authority.invalid/",
		"AZURE_KUBERNETES_TOKEN_PROXY=" + c.entra.URL(), "AZURE_KUBERNETES_CA_FILE=" + c.caFile,
	}, "serve", "--log-format=json")
	wantToken(t, p.get(t, "127.0.0.1", ""))
	p.terminate(t)
	if err := p.cmd.Wait(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(p.stderr.String(), `"msg":"serving"`) {
		t.Error("the log is not JSON")
	}
}

func TestServeDrains(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	asked, answered := make(chan struct{}), make(chan answer, 1)
	proceed := make(chan struct{})
	c.entra.Disturb(func(int) entra.Fault {
		close(asked)
		<-proceed
		return entra.Fault{}
	})
	p := launch(t, c.environment())
	go func() { answered <- p.get(t, "127.0.0.1", "") }()
	<-asked
	p.terminate(t)
	// Whoever comes now is refused, whoever waits is served.
	for {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", "127.0.0.1:"+p.port)
		if err != nil {
			break
		}
		conn.Close() //nolint:errcheck // nothing was written
	}
	close(proceed)
	wantToken(t, <-answered)
	p.wantEnd(t)
}

// A caller who waits for an Entra that does not answer gets an answer, and the
// proxy ends as it should.
func TestServeDrainsWhileEntraHangs(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	asked, answered := make(chan struct{}), make(chan answer, 1)
	c.entra.Disturb(func(n int) entra.Fault {
		if n == 1 {
			close(asked)
		}
		return entra.Fault{Hang: true}
	})
	p := launch(t, c.environment())
	go func() { answered <- p.get(t, "127.0.0.1", "") }()
	<-asked
	p.terminate(t)
	if a := <-answered; a.status != http.StatusServiceUnavailable || !strings.HasPrefix(a.Description, "no answer from Entra") {
		t.Errorf("got %+v; want 503, and that Entra did not answer", a)
	}
	p.wantEnd(t)
}

// The cloud's name counts where no authority host is set.
func TestAuthority(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ environment, host, want string }{
		"nothing is set":        {"", "", "https://login.microsoftonline.com/"},
		"a cloud":               {"azureusgovernmentcloud", "", "https://login.microsoftonline.us/"},
		"a cloud and a host":    {"AzureChinaCloud", "https://login.example/", "https://login.example/"},
		"a host, unknown cloud": {"AzureStackCloud", "https://login.example/", "https://login.example/"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, err := parse(serveCommand().settings, nil, func(name string) (string, bool) {
				value := map[string]string{"AZURE_ENVIRONMENT": c.environment, "AZURE_AUTHORITY_HOST": c.host}[name]
				return value, value != ""
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := o.authority(); got != c.want || len(o.faults) > 0 {
				t.Errorf("got %q, %v; want %q", got, o.faults, c.want)
			}
		})
	}
}

func TestServeWithoutPort(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	hosts := []string{"127.0.0.1"}
	if hasIPv6(t) {
		hosts = append(hosts, "::1")
	}
	for _, host := range hosts {
		t.Run("taken on "+host, func(t *testing.T) {
			t.Parallel()
			_, port, err := net.SplitHostPort(free(t))
			if err != nil {
				t.Fatal(err)
			}
			address := net.JoinHostPort(host, port)
			taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer taken.Close()
			cmd := exec.CommandContext(t.Context(), "proxy", "--proxy-port="+port)
			cmd.Env = c.environment()
			out, err := cmd.CombinedOutput()
			want := fmt.Sprintf("proxy serve: listening for the proxy on %q: listen tcp %[1]s: bind: address already in use; "+
				"want --proxy-port to be one that no other container of the pod uses: annotation azure.workload.identity/proxy-sidecar-port sets it\n", address)
			if cmd.ProcessState.ExitCode() != 1 || string(out) != want {
				t.Errorf("%v\ngot  %swant %s", err, out, want)
			}
		})
	}
}

// The collector's pace is set where the environment leaves it open.
func TestServeSetsGCPercent(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	for _, step := range []struct {
		gogc string
		want int
	}{{"200", 100}, {"", gcPercent}} {
		debug.SetGCPercent(100)
		o, err := parse(serveCommand().settings, nil, func(name string) (string, bool) {
			if name == "GOGC" {
				return step.gogc, true
			}
			return tenant, true
		})
		if err != nil {
			t.Fatal(err)
		}
		prepareServe(o, io.Discard, slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo).Writer())
		if got := debug.SetGCPercent(100); got != step.want {
			t.Errorf("GOGC=%q: collects at %d percent; want %d", step.gogc, got, step.want)
		}
	}
}
