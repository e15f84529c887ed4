//go:build !linux

package redirect

import (
	"context"
	"fmt"
	"runtime"
)

// Apply needs Linux: it returns an error that says so.
func Apply(_ context.Context, rule Rule) error {
	if err := rule.check(); err != nil {
		return fmt.Errorf("redirecting the metadata endpoint: %w", err)
	}
	return fmt.Errorf("redirecting the metadata endpoint: this is %s; want Linux with nftables", runtime.GOOS)
}
