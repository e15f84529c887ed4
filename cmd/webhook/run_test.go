package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/admission"
	"github.com/issuer-sync/issuer-sync/internal/command"
	"github.com/issuer-sync/issuer-sync/internal/selfcert"
)

// TestRun is a life of the webhook: it starts, is ready, answers as the API
// server's version allows, tells of it in metrics, and ends well.
func TestRun(t *testing.T) {
	for _, c := range []struct {
		name, minor string
		command     []string
		want        string
	}{
		{"of an old cluster, without subcommand", "31+", nil, "[{azwi-proxy-init}] [{azwi-proxy} {web}]"},
		{"of a newer one", "32+", []string{"run"}, "[{azwi-proxy-init} {azwi-proxy}] [{web}]"},
		{"told otherwise", "32", []string{"run", "--native-sidecar=never"}, "[{azwi-proxy-init}] [{azwi-proxy} {web}]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			directory, made := t.TempDir(), certificateFor(t, time.Hour, host)
			write(t, directory, made, made.CA)
			r := start(t, append(c.command, flags(fakeAPI{minor: c.minor}.kubeconfig(t), directory, "--proxy-image=proxy:v1")...)...)
			r.await(t, "health", "metrics", "webhook", "cached service accounts")
			if code, text := r.ready(t); code != http.StatusOK {
				t.Fatalf("not ready: %d %s", code, text)
			}
			code, answer := call(t, client(made.CA, 0), http.MethodPost, "https://"+r.address("webhook")+admission.Path, review)
			if code != http.StatusOK {
				t.Fatalf("answered %d %s", code, answer)
			}
			if got := containers(t, answer); got != c.want {
				t.Errorf("containers %s; want %s", got, c.want)
			}
			// The calls to oneself are not counted.
			_, metrics := call(t, http.DefaultTransport, http.MethodGet, "http://"+r.address("metrics")+"/metrics", "")
			var counted []string
			for line := range strings.Lines(metrics) {
				if strings.HasPrefix(line, "azwi_reviews_total") || strings.HasPrefix(line, "azwi_mutation_request_count") {
					counted = append(counted, line)
				}
			}
			if want := []string{
				"azwi_mutation_request_count{namespace=\"shop\",service_name=\"webhook\"} 1\n",
				"azwi_reviews_total{reason=\"mutated\",result=\"allowed\"} 1\n",
			}; !slices.Equal(counted, want) || !strings.Contains(metrics, "\ngo_goroutines ") {
				t.Errorf("counted %q; want %q", counted, want)
			}
			checkGauges(t, metrics, made)
			r.stop()
			if code := <-r.ended; code != 0 {
				t.Errorf("exit code %d", code)
			}
			r.await(t, "stopped")
		})
	}
}

// TestNotReady has all that can be wrong with a certificate, or with the API
// server, and what the kubelet's events then say.
func TestNotReady(t *testing.T) {
	good, other := certificateFor(t, time.Hour, host), certificateFor(t, time.Hour, host)
	for _, c := range []struct {
		name   string
		api    fakeAPI
		served *selfcert.Certificate
		ca     []byte
		await  []string
		want   string
	}{
		{"trusted", fakeAPI{}, good, good.CA, nil, "ok\n"},
		{"trusted among others", fakeAPI{}, good, append(bytes.Clone(other.CA), good.CA...), nil, "ok\n"},
		{"without a CA to check against", fakeAPI{}, good, nil, nil, "ok\n"},
		{
			"not trusted by ca.crt",
			fakeAPI{},
			good, other.CA, nil,
			"calling itself: tls: failed to verify certificate: x509: certificate signed by unknown authority",
		},
		{
			"for another name",
			fakeAPI{},
			certificateFor(t, time.Hour, "other.test"), nil, nil,
			"calling itself: tls: failed to verify certificate: x509: certificate is valid for other.test, not " + host + "\n",
		},
		{
			"expired",
			fakeAPI{},
			certificateFor(t, -time.Minute, host), nil, nil,
			"calling itself: tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time ",
		},
		{"with a CA that is none", fakeAPI{}, good, []byte("nonsense"), nil, "calling itself: reading the CA: \"DIRECTORY/ca.crt\" holds no certificate; want PEM\n"},
		{"without the ServiceAccounts", fakeAPI{unsynced: true}, good, nil, []string{"health", "webhook"}, "the ServiceAccounts are not read yet"},
		{"without a version", fakeAPI{unanswered: true}, good, nil, []string{"health", "waiting for the API server"}, "it does not listen yet: asking the API server for its version: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			directory := t.TempDir()
			write(t, directory, c.served, c.ca)
			c.api.minor = "32"
			r := start(t, flags(c.api.kubeconfig(t), directory)...)
			if c.await == nil {
				c.await = []string{"health", "webhook", "cached service accounts"}
			}
			r.await(t, c.await...)
			code, text := r.ready(t)
			want := strings.ReplaceAll(c.want, "DIRECTORY", directory)
			if !strings.HasPrefix(text, want) || (code == http.StatusOK) != (want == "ok\n") || code != http.StatusOK && code != http.StatusServiceUnavailable {
				t.Errorf("%d %s\nwant %s", code, text, want)
			}
			if code, text := call(t, http.DefaultTransport, http.MethodGet, "http://"+r.address("health")+"/healthz", ""); code != http.StatusOK {
				t.Errorf("not healthy: %d %s", code, text)
			}
			r.stop()
			if code := <-r.ended; code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

func TestMinTLSVersion(t *testing.T) {
	directory, made := t.TempDir(), certificateFor(t, time.Hour, host)
	write(t, directory, made, made.CA)
	for _, c := range []struct {
		name    string
		flags   []string
		version uint16
		want    int
	}{
		{"1.2 refused by default", nil, tls.VersionTLS12, 0},
		{"1.3 taken", nil, tls.VersionTLS13, http.StatusMethodNotAllowed},
		{"1.2 taken if asked for", []string{"--tls-min-version=1.2"}, tls.VersionTLS12, http.StatusMethodNotAllowed},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, flags(fakeAPI{minor: "32"}.kubeconfig(t), directory, c.flags...)...)
			r.await(t, "webhook")
			code, text := call(t, client(made.CA, c.version), http.MethodGet, "https://"+r.address("webhook")+admission.Path, "")
			if code != c.want || code == 0 && !strings.HasSuffix(text, "tls: protocol version not supported") {
				t.Errorf("%d %s; want %d", code, text, c.want)
			}
		})
	}
}

// Empty addresses turn servers off.
func TestRunWithoutHealthAndMetrics(t *testing.T) {
	directory, made := t.TempDir(), certificateFor(t, time.Hour, host)
	write(t, directory, made, made.CA)
	r := start(t, flags(fakeAPI{minor: "32"}.kubeconfig(t), directory, "--health-addr=", "--metrics-addr=")...)
	r.await(t, "webhook", "cached service accounts")
	r.stop()
	r.await(t, "stopped")
	if r.seen["health"] != nil || r.seen["metrics"] != nil {
		t.Errorf("served %v", slices.Sorted(maps.Keys(r.seen)))
	}
}

// A port that is taken is the end of it, not of usage: exit code 1, the address named.
func TestRunFails(t *testing.T) {
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	address := taken.Listener.Addr().String()
	directory, made := t.TempDir(), certificateFor(t, time.Hour, host)
	write(t, directory, made, made.CA)
	for _, server := range []string{"webhook", "health", "metrics"} {
		t.Run(server, func(t *testing.T) {
			r := start(t, flags(fakeAPI{minor: "32"}.kubeconfig(t), directory, "--"+server+"-addr="+address)...)
			if code := <-r.ended; code != command.ExitFailed {
				t.Errorf("exit code %d", code)
			}
			r.await(t, fmt.Sprintf("webhook: listening for %s on %q: listen tcp %s: bind: address already in use", server, address, address))
		})
	}
}
