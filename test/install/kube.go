package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/issuer-sync/issuer-sync/test/servers"
)

// progressInterval is how often a long step says that it still runs.
const progressInterval = 30 * time.Second

// installKube builds the Kubernetes servers if they are not there. The program
// appears whole or not at all, whoever else installs at the same time.
func installKube(ctx context.Context, parts servers.Parts, report *log.Logger) error {
	if parts.KubeReady() {
		report.Printf("kube-servers: ready (%s)", parts.KubeServers)
		return nil
	}
	report.Print("kube-servers: building etcd and Kubernetes; this takes 5 minutes on two cores, once")
	dir := filepath.Dir(parts.KubeServers)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the folder of kube-servers: %w", err)
	}
	temporary, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return fmt.Errorf("making the folder of kube-servers: %w", err)
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	if err := buildKube(ctx, parts.KubeSource, filepath.Join(temporary, "kube-servers"), report); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(temporary, "kube-servers"), parts.KubeServers); err != nil {
		return fmt.Errorf("putting kube-servers into the cache: %w", err)
	}
	report.Printf("kube-servers: ready (%s)", parts.KubeServers)
	return nil
}

// buildKube fetches first, so that a missing network is told from a broken build.
func buildKube(ctx context.Context, source, target string, report *log.Logger) error {
	fetch := goTool(ctx, source, "list", "-deps", ".")
	if err := watch(fetch, "kube-servers: still fetching Go modules", report); err != nil {
		return fmt.Errorf("fetching the Go modules of kube-servers (needs the network, or a GOPROXY that has them, once): %w", err)
	}
	version, err := goTool(ctx, source, "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes").Output()
	if err != nil {
		return fmt.Errorf("reading the version of Kubernetes from go.mod: %w", err)
	}
	flags, err := linkerFlags(strings.TrimSpace(string(version)))
	if err != nil {
		return err
	}
	build := goTool(ctx, source, "build", "-trimpath", "-buildvcs=false", "-ldflags="+flags, "-o", target, ".")
	if err := watch(build, "kube-servers: still building", report); err != nil {
		return fmt.Errorf("building kube-servers in %q: %w", source, err)
	}
	return nil
}

// goTool is a command of the go tool for the module in source, which stands
// alone whatever workspace surrounds it.
func goTool(ctx context.Context, source string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "go", args...)
	c.Dir = source
	c.Env = append(c.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	return c
}

// linkerFlags make the servers say which version they are: built as a module
// they do not know.
func linkerFlags(version string) (string, error) {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) != 3 {
		return "", fmt.Errorf("reading the version of Kubernetes from go.mod: %q; want such as v1.36.3", version)
	}
	const variable = " -X k8s.io/component-base/version."
	return "-s -w" + variable + "gitVersion=" + version + variable + "gitMajor=" + parts[0] + variable + "gitMinor=" + parts[1], nil
}

// watch runs a command to its end and says every half minute that it still
// runs. What it printed is in the error if it fails.
func watch(c *exec.Cmd, message string, report *log.Logger) error {
	var output strings.Builder
	c.Stderr = &output
	start := time.Now()
	if err := c.Start(); err != nil {
		return err
	}
	done := make(chan error)
	go func() { done <- c.Wait() }()
	ticker := time.NewTicker(progressInterval)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("%w\n%s", err, tail(output.String()))
			}
			return nil
		case <-ticker.C:
			report.Printf("%s (%v)", message, time.Since(start).Round(time.Second))
		}
	}
}

// tail returns the last lines of a tool's output, where the cause stands.
func tail(output string) string {
	const lines = 20
	all := strings.Split(strings.TrimSpace(output), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
