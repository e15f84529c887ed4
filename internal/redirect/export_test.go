//go:build linux

package redirect

import "github.com/google/nftables"

// Write writes the rule by a connection with the given options, whatever the
// routes are.
func Write(rule Rule, options ...nftables.ConnOption) error { return write(rule, options...) }
