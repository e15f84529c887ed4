// Package sdk holds the clients of Azure that the proxy's and the webhook's
// tests run as processes of their own: Azure's SDKs, old and new, in several
// languages, each with a few lines around it that ask for one access token. Its
// tests run them in a network and with files set up like a pod's.
//
// Those for Go are built by the tests, and those for JavaScript and Python are
// installed by `go run ./test/install`, which asks this package where to.
package sdk

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"github.com/issuer-sync/issuer-sync/test/servers"
)

// Parts says where the installed SDKs are kept, whether they are there or not.
type Parts struct {
	// Source is the folder of the clients in the project's tree, which holds this
	// package.
	Source string `json:"source"`
	// Node is the node_modules folder that npm fills after the lock file in
	// NodeSource, after which its parent is named.
	Node string `json:"node"`
	// NodeSource is the folder with package.json and package-lock.json.
	NodeSource string `json:"nodeSource"`
	// Python is a folder of Python packages: azure-identity with azure-core.
	Python string `json:"python"`
}

// FindParts computes where the parts belong, in the cache that the parts of
// package servers are kept in.
func FindParts() (Parts, error) {
	others, err := servers.FindParts()
	if err != nil {
		return Parts{}, err
	}
	source := filepath.Join(filepath.Dir(others.AzuriteSource), "sdk")
	parts := Parts{
		Source:     source,
		NodeSource: filepath.Join(source, "js"),
		Python:     filepath.Join(others.Cache, "azure-identity-python"),
	}
	lock, err := os.ReadFile(filepath.Join(parts.NodeSource, "package-lock.json"))
	if err != nil {
		return Parts{}, fmt.Errorf("computing the name of a test part: %w", err)
	}
	sum := sha256.Sum256(lock)
	parts.Node = filepath.Join(others.Cache, "azure-identity-js-"+hex.EncodeToString(sum[:8]), "node_modules")
	return parts, nil
}

// NodeReady reports whether Node is there.
func (p Parts) NodeReady() bool {
	return exists(filepath.Join(p.Node, "@azure", "identity", "package.json"))
}

// PythonReady reports whether Python is there.
func (p Parts) PythonReady() bool {
	return exists(filepath.Join(p.Python, "azure", "identity", "__init__.py"))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
