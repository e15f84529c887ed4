package webhook_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/test/program"
)

// replica is a running process of the webhook, and what a node does for it.
type replica struct {
	cmd     *exec.Cmd
	service *service
	log     program.Output
	done    chan struct{} // closed when the process has ended

	address         string        // of the webhook
	readiness, life string        // URLs of the probes
	gone            chan struct{} // closed when it is no longer to be an endpoint
}

// start starts a replica as the Deployment says, as its ServiceAccount, with
// addresses of its own and further arguments. The test ends it.
func (i *installation) start(t *testing.T, arguments ...string) *replica {
	t.Helper()
	account := i.deployment.Spec.Template.Spec.ServiceAccountName
	arguments = append([]string{"--kubeconfig=" + i.ServiceAccountKubeconfig(t, ownNamespace, account)}, arguments...)
	return i.run(t, process{arguments: arguments})
}

// process is how a replica is started, beside what the Deployment says.
type process struct {
	wrapper     []string // a command that becomes the one behind its arguments
	environment []string // NAME=VALUE
	arguments   []string
}

func (i *installation) run(t *testing.T, p process) *replica {
	t.Helper()
	container := i.deployment.Spec.Template.Spec.Containers[0]
	own := []string{"--webhook-addr=127.0.0.1:0", "--health-addr=127.0.0.1:0", "--metrics-addr=127.0.0.1:0"}
	command := slices.Concat(p.wrapper, []string{program.Build(t, "cmd/webhook")}, container.Args, own, p.arguments)
	r := &replica{service: i.service, done: make(chan struct{}), gone: make(chan struct{})}
	r.cmd = exec.CommandContext(t.Context(), command[0], command[1:]...)
	r.cmd.Env = append(i.settings(t), p.environment...)
	r.cmd.Stdout, r.cmd.Stderr = &r.log, &r.log
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		defer close(r.done)
		_ = r.cmd.Wait() // its exit code tells
	})
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill() // it may have ended
		watching.Wait()
		if t.Failed() {
			t.Logf("log of the replica at %s:\n%s", r.address, tail(r.log.String()))
		}
	})
	r.address = r.listens(t, "webhook")
	health := "http://" + r.listens(t, "health")
	r.readiness, r.life = health+container.ReadinessProbe.HTTPGet.Path, health+container.LivenessProbe.HTTPGet.Path
	watching.Go(r.watch)
	i.replicas = append(i.replicas, r)
	return r
}

// listens waits until the log says where a server listens.
func (r *replica) listens(t *testing.T, server string) string {
	t.Helper()
	var address string
	eventually(t, "the "+server+" server to listen", patience, func() bool {
		if r.ended() {
			t.Fatalf("the webhook ended: %s\n%s", r.cmd.ProcessState, r.log.String())
		}
		_, after, found := strings.Cut(r.log.String(), "server="+server+" address=")
		address, _, _ = strings.Cut(after, " ")
		return found && address != ""
	})
	return address
}

// logged reports whether the log has the text, which it quotes.
func (r *replica) logged(text string) bool {
	return strings.Contains(strings.ReplaceAll(r.log.String(), `\"`, `"`), text)
}

func (r *replica) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// watch is kubelet's readiness probe, but ten times a second.
func (r *replica) watch() {
	defer r.service.set(r.address, false)
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		_, err := r.ready()
		r.service.set(r.address, err == nil)
		select {
		case <-ticker.C:
		case <-r.gone:
			return
		case <-r.done:
			return
		}
	}
}

// ready returns what the readiness probe gets; an error unless that is 200.
func (r *replica) ready() (string, error) { return get(r.readiness) }

func get(url string) (string, error) {
	response, err := (&http.Client{Timeout: 2 * time.Second}).Get(url) //nolint:noctx // has a timeout
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errStatus(response.Status)
	}
	return string(body), err
}

type errStatus string

func (e errStatus) Error() string { return string(e) }

func (r *replica) awaitReady(t *testing.T) {
	t.Helper()
	var says string
	var err error
	defer func() {
		if err != nil {
			t.Logf("/readyz: %v %s", err, says)
		}
	}()
	eventually(t, "the replica to be ready", patience, func() bool { says, err = r.ready(); return err == nil })
}

// terminate does what the deletion of a pod does: the process is told to end,
// and the Service hears of it as late as after a second.
func (r *replica) terminate(t *testing.T) {
	t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(time.Second, func() { close(r.gone) })
}

// awaitEnd waits for the process to end by itself, and returns its exit code.
func (r *replica) awaitEnd(t *testing.T, within time.Duration) int {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(within):
		t.Fatalf("the webhook did not end within %s", within)
	}
	return r.cmd.ProcessState.ExitCode()
}

// kill ends the process as a crash would.
func (r *replica) kill(t *testing.T) {
	t.Helper()
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-r.done
}

// killAll ends all replicas that run.
func (i *installation) killAll(t *testing.T) {
	t.Helper()
	for _, r := range i.replicas {
		if !r.ended() {
			r.kill(t)
		}
	}
}

// served is the certificate that new connections get; nil if there is none.
func (r *replica) served() *x509.Certificate {
	// What is served is looked at, not trusted.
	connection, err := tls.Dial("tcp", r.address, &tls.Config{InsecureSkipVerify: true}) //nolint:noctx // loopback
	if err != nil {
		return nil
	}
	defer connection.Close()
	return connection.ConnectionState().PeerCertificates[0]
}

// tail is the end of the log, and what is worse than usual before that: there is
// a line for each pod.
func tail(log string) string {
	const most = 6 << 10
	end := max(0, len(log)-most)
	var worse strings.Builder
	for line := range strings.Lines(log[:end]) {
		if !strings.Contains(line, "level=INFO") && worse.Len() < most {
			worse.WriteString(line)
		}
	}
	return worse.String() + "[...]" + log[end:]
}
