//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const cgroups = "/sys/fs/cgroup"

// makeCgroups makes a group for the pods: one in each hierarchy of version 1, or
// one with all controllers in version 2.
func (c config) makeCgroups() error {
	if _, err := os.Stat(filepath.Join(cgroups, "cgroup.controllers")); err == nil {
		return c.makeUnified()
	}
	hierarchies, err := os.ReadDir(cgroups)
	if err != nil {
		return fmt.Errorf("looking for cgroups: %w", err)
	}
	for _, hierarchy := range hierarchies {
		if !hierarchy.IsDir() { // links are other names of hierarchies
			continue
		}
		if err := c.makeIn(filepath.Join(cgroups, hierarchy.Name())); err != nil {
			return fmt.Errorf("making a cgroup: %w", err)
		}
	}
	return nil
}

// makeUnified turns on what the kubelet wants of what there is (Kubernetes
// pkg/kubelet/cm/cgroup_v2_manager_linux.go, Validate), and the rest that runc uses.
func (c config) makeUnified() error {
	there, err := os.ReadFile(filepath.Join(cgroups, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("reading what controllers there are: %w", err)
	}
	for name := range strings.FieldsSeq(string(there)) {
		if !slices.Contains([]string{"cpuset", "cpu", "io", "memory", "hugetlb", "pids"}, name) {
			continue
		}
		if err := os.WriteFile(filepath.Join(cgroups, "cgroup.subtree_control"), []byte("+"+name), 0); err != nil {
			return fmt.Errorf("turning on controller %s for groups below %s, which processes in that group itself forbid, as in a container: %w", name, cgroups, err)
		}
	}
	if err := os.Mkdir(filepath.Join(cgroups, c.cgroup), 0o755); err != nil {
		return fmt.Errorf("making a cgroup: %w", err)
	}
	return nil
}

func (c config) makeIn(hierarchy string) error {
	group := filepath.Join(hierarchy, c.cgroup)
	if err := os.Mkdir(group, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} { // empty in a new group, in which then nothing can run
		value, err := os.ReadFile(filepath.Join(hierarchy, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(group, name), value, 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
