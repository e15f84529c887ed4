//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// setUpNetwork gives the node an address that pods and the API server know, and
// takes all of 10.77.0.0/24 for its own: servers that are not in the cluster
// have addresses of their own there.
func setUpNetwork(ctx context.Context) error {
	for _, line := range []string{
		"link set lo up",
		"link add node0 type bridge", // a device that holds an address; kernels lack "dummy" more often
		"address add 10.77.0.1/32 dev node0",
		"link set node0 up",
		"route add default dev node0 src 10.77.0.1",
		"route add local 10.77.0.0/24 dev lo",
	} {
		if out, err := exec.CommandContext(ctx, "ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w\n%s", line, err, out)
		}
	}
	// Pods reach the node's other addresses, and each other.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return fmt.Errorf("turning on forwarding: %w", err)
	}
	return nil
}
