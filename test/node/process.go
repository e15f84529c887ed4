//go:build linux

package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/issuer-sync/issuer-sync/test/process"
)

// killChild kills what nsenter has started on the node, and waits for its end:
// nsenter ends after it.
func killChild(p *process.Process) error {
	pid := p.PID()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return fmt.Errorf("looking for a process on the node: %w", err)
	}
	for field := range strings.FieldsSeq(string(children)) {
		child, err := strconv.Atoi(field)
		if err == nil {
			err = syscall.Kill(child, syscall.SIGKILL)
		}
		if err != nil {
			return fmt.Errorf("killing a process on the node: %w", err)
		}
	}
	<-p.Done()
	return nil
}

// startInit makes the node's namespaces, with their first process.
func (n *Node) startInit(ctx context.Context) error {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), n.parts.init, "-state", n.state, "-cgroup", n.cgroup, "-hostname", Name)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(n.dir, "init.log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd.Stderr = log
	line := make(chan string, 1)
	// Read before the process can be waited for, which closes the pipe.
	go func() {
		text, _ := bufio.NewReader(output).ReadString('\n')
		line <- text
	}()
	if n.init, err = process.Start("the node's first process", cmd); err != nil {
		return errors.Join(errUnable, err) // it has no rights to make namespaces
	}
	if <-line != "ready\n" {
		<-n.init.Done()
		said, err := os.ReadFile(log.Name())
		return errors.Join(errUnable, errors.New(strings.TrimSpace(string(said))), err)
	}
	return nil
}

// errUnable says that the machine cannot hold a node.
var errUnable = errors.New("this machine cannot hold a node: it wants all rights of root, and a kernel with namespaces, cgroups, overlayfs, bridges and nftables")

// PID is the process ID, on the machine, of the node's first process, with which
// all the others end.
func (n *Node) PID() int { return n.init.PID() }

// Command is a command that runs on the node, with the node's files, network,
// names and processes, and KUBECONFIG for an administrator. It is killed with
// its process on the machine.
func (n *Node) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	enter := []string{
		"--target", strconv.Itoa(n.PID()), "--mount", "--net", "--pid", "--ipc", "--uts", "--wdns=/",
		// In the PID namespace it is a child of nsenter, and must go with it.
		"setpriv", "--pdeathsig=KILL", "--", name,
	}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.Env = []string{
		"HOME=" + n.state, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"KUBECONFIG=" + n.Kubeconfig(), "TMPDIR=" + n.dir,
	}
	return cmd
}

// Serve starts a server on the node, which ends with the node; name is that of
// its log.
func (n *Node) Serve(t testing.TB, name string, cmd *exec.Cmd) {
	t.Helper()
	if _, err := n.serve(name, cmd); err != nil {
		t.Fatal(err)
	}
}

// serve starts a command of [Node.Command] as a server. Its log is dir/NAME.log.
func (n *Node) serve(name string, cmd *exec.Cmd) (*process.Process, error) {
	log, err := os.OpenFile(filepath.Join(n.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	return process.Start(name, cmd)
}

// run runs a command of [Node.Command] to its end, and has what it printed in
// the error.
func run(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Args[len(cmd.Args)-1]), err, out)
	}
	return nil
}

// close ends all that runs on the node, and removes its cgroups.
func (n *Node) close(t testing.TB) {
	if n.init == nil {
		return
	}
	n.init.Kill() // the kernel kills the rest of its PID namespace
	if n.names != nil {
		n.names.close()
	}
	if err := n.removeCgroups(); err != nil {
		t.Errorf("removing the node's cgroups: %v", err)
	}
	n.showLogs(t)
}
