package servers

import (
	"path/filepath"
	"testing"
)

// Runtime is a folder with containerd, runc and CNI plugins, unpacked from
// Debian's packages [RuntimePackages], whether they are there or not.
type Runtime string

// RuntimePackages returns the names of Debian's packages that a [Runtime] has.
// Installed as usual, they would start a daemon.
func RuntimePackages() []string { return []string{"containerd", "runc", "containernetworking-plugins"} }

// Programs is the folder of containerd, its client and its shim.
func (r Runtime) Programs() string { return filepath.Join(string(r), "usr", "bin") }

// Containerd is the path of the daemon.
func (r Runtime) Containerd() string { return filepath.Join(r.Programs(), "containerd") }

// Ctr is the path of its client.
func (r Runtime) Ctr() string { return filepath.Join(r.Programs(), "ctr") }

// Runc is the path of runc.
func (r Runtime) Runc() string { return filepath.Join(string(r), "usr", "sbin", "runc") }

// CNI is the folder of the plugins.
func (r Runtime) CNI() string { return filepath.Join(string(r), "usr", "lib", "cni") }

// Ready reports whether they are there.
func (r Runtime) Ready() bool { return exists(r.Containerd()) && exists(r.Runc()) && exists(r.CNI()) }

// RequireRuntime returns what runs containers; without it the test ends.
func RequireRuntime(t testing.TB) Runtime {
	t.Helper()
	parts, err := FindParts()
	if err != nil {
		t.Fatal(err)
	}
	if !parts.Runtime.Ready() {
		missing(t, "containerd, runc and CNI plugins are not unpacked")
	}
	return parts.Runtime
}
