package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/redirect/netnstest"
)

const metadataEndpoint = "169.254.169.254:80"

// pod enters a namespace with a metadata endpoint, and two proxies.
func pod(t *testing.T) {
	t.Helper()
	netnstest.Enter(t)
	netnstest.IP(t, "address add 169.254.169.254 dev lo")
	netnstest.Serve(t, metadataEndpoint, "the metadata endpoint")
	netnstest.Serve(t, "127.0.0.1:8000", "the proxy")
	netnstest.Serve(t, "127.0.0.1:8001", "the proxy's other port")
}

// onlyNetAdmin runs what follows as the container proxy-init runs: as root
// without any capability but NET_ADMIN.
func onlyNetAdmin() []string {
	return []string{"setpriv", "--bounding-set=-all,+net_admin", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"}
}

// runInit runs the program, without a PATH in which it could find others.
func runInit(t *testing.T, wrapper, environment []string, attributes *syscall.SysProcAttr) (code int, stdout, stderr string) {
	t.Helper()
	program, err := exec.LookPath("proxy")
	if err != nil {
		t.Fatal(err)
	}
	line := append(wrapper, program, "init")
	if line[0], err = exec.LookPath(line[0]); err != nil {
		t.Fatal(err)
	}
	var out, messages strings.Builder
	cmd := exec.CommandContext(t.Context(), line[0], line[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = append(environment, "PATH=/nonexistent"), &out, &messages, attributes
	began := time.Now()
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	t.Logf("proxy init took %s", time.Since(began))
	return cmd.ProcessState.ExitCode(), out.String(), messages.String()
}

func wantAnswer(t *testing.T, uid uint32, want string) {
	t.Helper()
	if got, err := netnstest.Ask(t, uid, metadataEndpoint); err != nil || got != want {
		t.Errorf("uid %d: answered %q, %v; want %q", uid, got, err, want)
	}
}

// As the webhook has it: two variables, one capability.
func TestInit(t *testing.T) {
	t.Parallel()
	pod(t)
	for _, step := range []struct {
		environment          []string
		says                 string
		first, second, third string // the answers to uids 0, 1501 and 1502
	}{
		{
			[]string{"PROXY_PORT=8000", "PROXY_UID=1501"},
			"requests to 169.254.169.254:80 now go to port 8000, but for those of uid 1501\n",
			"the proxy", "the metadata endpoint", "the proxy",
		},
		{
			[]string{"PROXY_PORT=8001", "PROXY_UID=1502"},
			"requests to 169.254.169.254:80 now go to port 8001, but for those of uid 1502\n",
			"the proxy's other port", "the proxy's other port", "the metadata endpoint",
		},
		{
			nil,
			"requests to 169.254.169.254:80 now go to port 8000, but for those of uid 1501\n",
			"the proxy", "the metadata endpoint", "the proxy",
		},
		{
			[]string{"METADATA_IP=192.0.2.1", "METADATA_PORT=81"},
			"requests to 192.0.2.1:81 now go to port 8000, but for those of uid 1501\n",
			"the metadata endpoint", "the metadata endpoint", "the metadata endpoint",
		},
	} {
		if strings.Contains(step.says, "192.0.2.1") {
			netnstest.IP(t, "address add 192.0.2.1 dev lo")
		}
		if code, stdout, stderr := runInit(t, onlyNetAdmin(), step.environment, nil); code != 0 || stdout != step.says || stderr != "" {
			t.Fatalf("with %q: exit code %d, %q, %q", step.environment, code, stdout, stderr)
		}
		wantAnswer(t, 0, step.first)
		wantAnswer(t, 1501, step.second)
		wantAnswer(t, 1502, step.third)
	}
}

// A pod with a user namespace of its own (hostUsers: false) has NET_ADMIN in
// that alone, and it is enough.
func TestInitInUserNamespace(t *testing.T) {
	t.Parallel()
	netnstest.Enter(t)                                                                                                                     // for what it needs
	shell := []string{"bash", "-c", `PATH=$0; ip link set lo up && ip address add 169.254.169.254 dev lo && exec "$@"`, os.Getenv("PATH")} //nolint:forbidigo // of the test itself
	code, stdout, stderr := runInit(t, shell, nil, &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
	})
	if code != 0 || stderr != "" || !strings.HasPrefix(stdout, "requests to 169.254.169.254:80 now go to port 8000") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}

func TestInitSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	const (
		begin = "proxy init: redirecting the metadata endpoint: capability NET_ADMIN is "
		want  = "; want uid 0 and NET_ADMIN in securityContext.capabilities.add, as the webhook sets for azwi-proxy-init"
		end   = "; or use env mode, which needs no redirect: --proxy-mode=env of the webhook: netlink receive: operation not permitted\n"
	)
	for name, c := range map[string]struct {
		wrapper    []string
		attributes *syscall.SysProcAttr
		want       string
	}{
		"root without the capability": {
			wrapper: []string{"setpriv", "--bounding-set=-all"},
			want:    begin + "missing, and the uid is 0" + want + end,
		},
		"the user that the image has": {
			wrapper: []string{"setpriv", "--reuid=1501", "--regid=1501", "--clear-groups", "--bounding-set=-all,+net_admin"},
			want:    begin + "missing, and the uid is 1501" + want + end,
		},
		"the capability in another user namespace": {
			attributes: &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
			},
			want: begin + "there, but not for this network namespace, or a security module forbids it; " +
				"want a container whose user and network namespace belong together" + end,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod(t)
			if code, stdout, stderr := runInit(t, c.wrapper, nil, c.attributes); code != 1 || stdout != "" || stderr != c.want {
				t.Errorf("exit code %d, %q\ngot  %swant %s", code, stdout, stderr, c.want)
			}
			wantAnswer(t, 0, "the metadata endpoint")
		})
	}
}

// Where IPv6 is switched off, the proxy does without it.
func TestServeWithoutIPv6(t *testing.T) {
	t.Parallel()
	netnstest.Enter(t)
	netnstest.IP(t, "-6 address del ::1/128 dev lo")
	p := launch(t, []string{"AZURE_TENANT_ID=" + tenant, "AZURE_FEDERATED_TOKEN_FILE=/nonexistent"})
	p.terminate(t)
	p.wantEnd(t)
	log := p.stderr.String()
	if !strings.Contains(log, `msg="left out ::1, there is no IPv6 here"`) || strings.Count(log, "msg=serving") != 1 {
		t.Errorf("it wrote:\n%s", log)
	}
}
