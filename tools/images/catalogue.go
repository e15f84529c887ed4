package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	project = "github.com/issuer-sync/issuer-sync"
	source  = "https://" + project
	license = "Apache-2.0"
)

// program is a command of the tree that has an image of the same name.
type program struct {
	name        string
	account     string // name of the user in /etc/passwd
	uid         int    // of user and group
	description string
}

// folder is where the command's sources are, for go build.
func (p program) folder() string { return "./cmd/" + p.name }

// path is where the image has it.
func (p program) path() string { return "/" + p.name }

// user names user and group by number: a kubelet takes no name for
// runAsNonRoot, and a runtime takes group 0 for a user that stands alone.
func (p program) user() string { return fmt.Sprintf("%d:%d", p.uid, p.uid) }

// catalogue lists all images.
func catalogue() []program {
	return []program{
		{"issuer-sync", "nonroot", 65532, "Publishes the OIDC discovery document and keys of Kubernetes clusters"},
		{"webhook", "nonroot", 65532, "Gives pods that ask for an Azure identity what Azure's SDKs look for"},
		// The redirect of proxy init spares this user: ProxyUID of pkg/mutate.
		{"proxy", "proxy", 1501, "Answers the metadata endpoint beside a workload with tokens of its own identity"},
	}
}

// choose returns the programs of the given names in the catalogue's order; all
// of them for none.
func choose(names []string) ([]program, error) {
	all := catalogue()
	if len(names) == 0 {
		return all, nil
	}
	var known []string
	for _, p := range all {
		known = append(known, p.name)
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("image %q: want %s", name, strings.Join(known, ", "))
		}
	}
	return slices.DeleteFunc(all, func(p program) bool { return !slices.Contains(names, p.name) }), nil
}

// parsePlatforms reads a list such as "linux/amd64,linux/arm64".
func parsePlatforms(list string) ([]v1.Platform, error) {
	var platforms []v1.Platform
	for text := range strings.SplitSeq(list, ",") {
		switch text {
		case "linux/amd64", "linux/arm64":
		default:
			return nil, fmt.Errorf("-platforms: platform %q: want linux/amd64 or linux/arm64, with a comma between them", text)
		}
		platform := v1.Platform{OS: "linux", Architecture: strings.TrimPrefix(text, "linux/")}
		if slices.ContainsFunc(platforms, platform.Equals) {
			return nil, fmt.Errorf("-platforms: platform %q is there twice", text)
		}
		platforms = append(platforms, platform)
	}
	return platforms, nil
}

// toolchain is the version of the go command that builds: go run built this
// program with the same.
func toolchain() string { return runtime.Version() }
