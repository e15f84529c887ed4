// Package kind holds the tests of deploy/kind: what kind makes of its
// configuration, what its scripts do, and what an API server says to its
// manifests. Neither Docker nor Azure is needed: programs in testdata stand for
// them. A whole run, on a real node, is in test/e2e.
package kind
