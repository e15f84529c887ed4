//go:build linux

package sdk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/mutate"
	"github.com/issuer-sync/issuer-sync/test/program"
	"github.com/issuer-sync/issuer-sync/test/sdk"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

// sdkProcess is a client of Azure, as a command that prints an access token for
// the resource that follows, of the client ID that may follow that.
type sdkProcess struct {
	line     []string
	resource string
	// variables are set beside those of the container.
	variables []string
	// old says that it knows no workload identity.
	old bool
	// mute is what it says of any refusal, if it does not say what it was told.
	mute string
}

// run asks for an access token in the pod, and returns what was printed.
func (s sdkProcess) run(t *testing.T, p *pod, within time.Duration, clientID ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	cmd := s.command(ctx, p, clientID...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	t.Logf("%s %q: answered within %s", filepath.Base(s.line[0]), clientID, time.Since(began).Round(10*time.Millisecond))
	if ctx.Err() != nil {
		t.Fatalf("no answer within %s; it wrote:\n%s", within, &stderr)
	}
	if err != nil {
		return "", errors.New(stderr.String())
	}
	return stdout.String(), nil
}

// command runs in the container of the pod's application. What is old knows
// nothing of the token's file.
func (s sdkProcess) command(ctx context.Context, p *pod, clientID ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.line[0], slices.Concat(s.line[1:], []string{s.resource}, clientID)...)
	cmd.Env = append(environment(p.app), s.variables...)
	cmd.Env = slices.DeleteFunc(cmd.Env, func(variable string) bool {
		return s.old && strings.HasPrefix(variable, "AZURE_FEDERATED_TOKEN_FILE=")
	})
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// wantToken wants a good access token of the pod's identity.
func (s sdkProcess) wantToken(t *testing.T, p *pod, clientID ...string) {
	t.Helper()
	out, err := s.run(t, p, patience, clientID...)
	if err != nil {
		t.Errorf("got error %v; want an access token", err)
		return
	}
	var (
		token   string
		expires int64
	)
	if _, err := fmt.Sscan(out, &token, &expires); err != nil {
		t.Errorf("got %q; want an access token and its end: %v", out, err)
		return
	}
	verify(t, p.entra, token, s.resource)
	if left := time.Until(time.Unix(expires, 0)); left < 50*time.Minute || left > 61*time.Minute {
		t.Errorf("the SDK thinks that the access token lives for %s; want an hour", left)
	}
}

// wantRefusals asks for identities that it cannot have, and wants to be told so
// soon, with the code; and if the proxy was asked, with the cure.
func (s sdkProcess) wantRefusals(t *testing.T, p *pod) {
	t.Helper()
	for _, refusal := range []struct{ clientID, code, cure string }{
		{unknown, "AADSTS700016", "compare azure.workload.identity/client-id and tenant-id of the ServiceAccount"},
		{stranger, "AADSTS700213", "(the subject differs); compare them byte for byte"},
	} {
		out, err := s.run(t, p, soon, refusal.clientID)
		if err == nil {
			t.Errorf("client ID %s: got %q; want an error", refusal.clientID, out)
			continue
		}
		want := []string{refusal.code}
		if p.proxied {
			want = append(want, refusal.cure)
			eventually(t, "the proxy's log to say "+strings.Join(want, " and "), func() bool { // it is written after the answer
				log := p.log.String()
				return !slices.ContainsFunc(want, func(part string) bool { return !strings.Contains(log, part) })
			})
		}
		if s.mute != "" {
			want = []string{s.mute}
		}
		wantParts(t, "the SDK's error", err.Error(), want...)
	}
}

func wantParts(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s does not say %q:\n%s", what, part, text)
		}
	}
}

// TestThroughTheProxy has each SDK ask the metadata endpoint, or what the
// variable says that it is.
func TestThroughTheProxy(t *testing.T) {
	t.Parallel()
	parts := findParts(t)
	azidentity := program.Build(t, "test/sdk/azidentity")
	goSDK := func(kind string) sdkProcess {
		return sdkProcess{line: []string{azidentity, kind}, resource: "https://vault.azure.net", old: kind == "default"}
	}
	tests := map[string]struct {
		mode mutate.ProxyMode
		sdk  sdkProcess
	}{
		"Go, ManagedIdentityCredential": {mutate.ProxyRedirect, goSDK("managed")},
		"Go, DefaultAzureCredential":    {mutate.ProxyRedirect, goSDK("default")},
		"go-autorest, adal 0.9.5":       {mutate.ProxyRedirect, adal(t, parts, "0.9.5")},
		"go-autorest, adal 0.9.13":      {mutate.ProxyRedirect, adal(t, parts, "0.9.13")},
		"go-autorest, adal 0.9.24":      {mutate.ProxyRedirect, adal(t, parts, "0.9.24")},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			throughTheProxy(t, test.mode, test.sdk)
		})
	}
	for _, variant := range []struct {
		mode mutate.ProxyMode
		kind string
	}{
		{mutate.ProxyRedirect, "managed"},
		{mutate.ProxyRedirect, "default"}, // which first tries whether there is an endpoint
		{mutate.ProxyEnv, "managed"},
	} {
		t.Run(fmt.Sprintf("JavaScript, %s credential, %s", variant.kind, variant.mode), func(t *testing.T) {
			t.Parallel()
			throughTheProxy(t, variant.mode, javaScript(t, parts, variant.kind))
		})
		t.Run(fmt.Sprintf("Python, %s credential, %s", variant.kind, variant.mode), func(t *testing.T) {
			t.Parallel()
			throughTheProxy(t, variant.mode, python(t, parts, variant.kind))
		})
	}
	t.Run("Python, msrestazure", func(t *testing.T) {
		t.Parallel()
		throughTheProxy(t, mutate.ProxyRedirect, python(t, parts, "msrestazure"))
	})
}

func throughTheProxy(t *testing.T, mode mutate.ProxyMode, s sdkProcess) {
	t.Helper()
	p := newPod(t, options{proxy: mode})
	s.wantToken(t, p)
	s.wantToken(t, p, client)
	if n := p.entra.Requests(); n != 1 {
		t.Errorf("%d exchanges; want one, and a cache", n)
	}
	s.wantRefusals(t, p)
}

// TestWorkloadIdentity has SDKs that know the token's file ask Entra
// themselves, with nothing but what the webhook injects. Those credentials for
// managed identities that are new enough use the file as well.
func TestWorkloadIdentity(t *testing.T) {
	t.Parallel()
	parts := findParts(t)
	azidentity := program.Build(t, "test/sdk/azidentity")
	for name, find := range map[string]func(*testing.T) sdkProcess{
		"Go, WorkloadIdentityCredential": func(*testing.T) sdkProcess {
			return sdkProcess{line: []string{azidentity, "workload"}, resource: "https://vault.azure.net"}
		},
		"Go, DefaultAzureCredential": func(*testing.T) sdkProcess {
			return sdkProcess{line: []string{azidentity, "default"}, resource: "https://vault.azure.net"}
		},
		"JavaScript, ManagedIdentityCredential": func(t *testing.T) sdkProcess {
			s := javaScript(t, parts, "managed")
			// Node.js has a list of CAs of its own.
			s.old, s.variables = false, append(s.variables, "NODE_EXTRA_CA_CERTS="+caFile)
			return s
		},
		"Python, ManagedIdentityCredential": func(t *testing.T) sdkProcess {
			s := python(t, parts, "managed")
			s.old = false
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := find(t)
			p := newPod(t, options{})
			s.wantToken(t, p)
			s.wantRefusals(t, p)
		})
	}
}

func findParts(t *testing.T) sdk.Parts {
	t.Helper()
	parts, err := sdk.FindParts()
	if err == nil {
		// The go command keeps results of tests, and runs one again if a folder
		// has changed that it has listed.
		err = filepath.WalkDir(parts.Source, func(_ string, _ fs.DirEntry, err error) error { return err })
	}
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

// adal builds the client with a version of go-autorest's adal.
func adal(t *testing.T, parts sdk.Parts, version string) sdkProcess {
	t.Helper()
	target := filepath.Join(t.TempDir(), "adal-"+version)
	if err := parts.BuildADAL(t.Context(), version, target); err != nil {
		t.Fatal(err)
	}
	return sdkProcess{line: []string{target}, resource: "https://management.azure.com/"}
}

func javaScript(t *testing.T, parts sdk.Parts, kind string) sdkProcess {
	t.Helper()
	const how = ": run `go run ./test/install` once, then test again with -count=1"
	node, err := servers.FindNode(t.Context())
	if err != nil {
		missing(t, fmt.Sprintf("the SDK for JavaScript cannot run: %v", err))
	}
	if !parts.NodeReady() {
		missing(t, "the SDK for JavaScript is not installed"+how)
	}
	return sdkProcess{
		line: []string{node, filepath.Join(parts.NodeSource, "token.js"), kind}, resource: "https://storage.azure.com",
		variables: []string{"NODE_PATH=" + parts.Node}, old: true,
	}
}

// python is Debian's, whatever other is in PATH: it has Debian's SDKs.
func python(t *testing.T, parts sdk.Parts, kind string) sdkProcess {
	t.Helper()
	const program = "/usr/bin/python3"
	s := sdkProcess{
		line: []string{program, filepath.Join(parts.Source, "python", "client.py"), kind}, resource: "https://database.windows.net/",
		variables: []string{"PYTHONPATH=" + parts.Python, "PYTHONDONTWRITEBYTECODE=1"}, old: true,
	}
	module, how := "azure.identity", "run apt-get install python3-msal python3-typing-extensions, and `go run ./test/install`"
	switch kind {
	case "default":
		s.mute = "The requested identity has not been assigned to this resource."
	case "msrestazure":
		module, how, s.mute = kind, "run apt-get install python3-msrestazure", "requests.exceptions.HTTPError"
	}
	look := exec.CommandContext(t.Context(), program, "-c", "import "+module)
	look.Env = s.variables
	if out, err := look.CombinedOutput(); err != nil {
		missing(t, fmt.Sprintf("the SDK for Python is not there: %s, then test again with -count=1\n%v\n%s", how, err, out))
	}
	return s
}
