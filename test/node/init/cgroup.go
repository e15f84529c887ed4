//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

func (c config) makeUnified() error {
	const controllers = "+cpuset +cpu +io +memory +pids"
	if err := os.WriteFile(filepath.Join(cgroups, "cgroup.subtree_control"), []byte(controllers), 0); err != nil {
		return fmt.Errorf("giving controllers %q to groups below %s, which a container without its own group tree may not: %w", controllers, cgroups, err)
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
