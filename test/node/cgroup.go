//go:build linux

package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// groupPrefix, and the test's process ID after it, begin the names of our cgroups.
const groupPrefix = "issuer-sync-test-"

// groupPatterns are where the groups of a name are: in each hierarchy of version
// 1, or in the one of version 2.
func groupPatterns(name string) []string {
	return []string{"/sys/fs/cgroup/*/" + name, "/sys/fs/cgroup/" + name}
}

// removeLeftGroups removes the groups of tests that are no more: who was killed
// could not. The kernel has ended all processes in them.
func removeLeftGroups() error {
	var errs []error
	for _, pattern := range groupPatterns(groupPrefix + "*") {
		groups, err := filepath.Glob(pattern)
		errs = append(errs, err)
		for _, group := range groups {
			text, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(group), groupPrefix), "-")
			owner, err := strconv.Atoi(text)
			if err != nil || syscall.Kill(owner, 0) == nil {
				continue
			}
			if err := removeTree(group); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", group, err))
			}
		}
	}
	return errors.Join(errs...)
}

// removeCgroups removes folders, children first, until the kernel has let go of
// the processes in them.
func (n *Node) removeCgroups() error {
	const attempts = 50
	var err error
	for range attempts {
		if err = removeGroups(groupPatterns(n.cgroup)...); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

func removeGroups(patterns ...string) error {
	var errs []error
	for _, pattern := range patterns {
		groups, err := filepath.Glob(pattern)
		errs = append(errs, err)
		for _, group := range groups {
			errs = append(errs, removeTree(group))
		}
	}
	return errors.Join(errs...)
}

// removeTree removes a group and those in it; the files in there are the kernel's.
func removeTree(group string) error {
	entries, err := os.ReadDir(group)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(filepath.Join(group, entry.Name())); err != nil {
				return err
			}
		}
	}
	return syscall.Rmdir(group)
}
