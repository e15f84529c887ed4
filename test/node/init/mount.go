//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// kernelSettings are what the kubelet insists on (Kubernetes
// pkg/kubelet/cm/container_manager_linux.go, setupKernelTunables). They belong to
// the whole machine, so the node is shown files that have these values already:
// then the kubelet writes none.
func kernelSettings() map[string]string {
	return map[string]string{
		"vm/overcommit_memory": "1", "vm/panic_on_oom": "0",
		"kernel/panic": "10", "kernel/panic_on_oops": "1",
		"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
	}
}

// mount hides from the machine what kubelet, containerd and CNI write to fixed
// paths, and from the node what the machine's have written there.
func (c config) mount() error {
	m := &mounter{}
	m.mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	m.mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "") // in here: the kubelet passes mounts on to containers
	m.mount("proc", "/proc", "proc", 0, "")
	m.mount("state", c.state, "tmpfs", 0, "size=6g,mode=755")
	m.mount("run", "/run", "tmpfs", 0, "size=256m,mode=755")
	upper, work := filepath.Join(c.state, "var"), filepath.Join(c.state, "var-work")
	m.mkdir(upper)
	m.mkdir(work)
	m.mount("var", "/var", "overlay", 0, "lowerdir=/var,upperdir="+upper+",workdir="+work)
	for _, folder := range []string{"/var/lib/kubelet", "/var/log/pods"} {
		// Not on the overlay: containers mount from here, and volumes are on it.
		inState := filepath.Join(c.state, strings.ReplaceAll(folder[1:], "/", "-"))
		m.mkdir(inState)
		m.mkdir(folder)
		m.mount(inState, folder, "", unix.MS_BIND, "")
	}
	for name, value := range kernelSettings() {
		m.show(filepath.Join(c.state, strings.ReplaceAll(name, "/", "-")), "/proc/sys/"+name, value+"\n")
	}
	m.show(filepath.Join(c.state, "resolv.conf"), "/etc/resolv.conf", "nameserver 10.77.0.53\n")
	return m.err
}

// mounter remembers the first error, after which it does nothing.
type mounter struct{ err error }

func (m *mounter) mount(source, target, kind string, flags uintptr, data string) {
	if m.err != nil {
		return
	}
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		m.err = fmt.Errorf("mounting %q on %q: %w", source, target, err)
	}
}

func (m *mounter) mkdir(folder string) {
	if m.err == nil {
		m.err = os.MkdirAll(folder, 0o755)
	}
}

// show has a file of the machine read as if it had the content.
func (m *mounter) show(file, target, content string) {
	if m.err == nil {
		m.err = os.WriteFile(file, []byte(content), 0o644)
	}
	m.mount(file, target, "", unix.MS_BIND, "")
}
