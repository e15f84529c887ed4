//go:build linux

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/test/docs"
	"github.com/issuer-sync/issuer-sync/test/image"
	"github.com/issuer-sync/issuer-sync/test/node"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

// kindIssuer is that of deploy/kind without Azure.
const kindIssuer = "https://issuer-sync.issuer-sync.svc.cluster.local"

// TestKind goes from nothing to a pod with a token as docs/getting-started.md
// says, without Azure. kind alone is played: it needs Docker.
func TestKind(t *testing.T) {
	images := filepath.Join(t.TempDir(), "images")
	if err := image.Build(t.Context(), images, "localhost/issuer-sync", current, "linux/"+runtime.GOARCH); err != nil {
		t.Fatal(err)
	}
	t.Run("by the script", func(t *testing.T) {
		k := newKind(t)
		k.run(t, images, filepath.Join(root(t), "deploy", "kind", "up.sh"))
		k.run(t, images, filepath.Join(root(t), "deploy", "kind", "up.sh")) // it goes on where it was
	})
	t.Run("by the commands of the page", func(t *testing.T) {
		newKind(t).run(t, images, "bash", "-euo", "pipefail", "-c", pageCommands(t))
	})
}

// pageCommands are the blocks of the page for the way without Azure, in their order.
func pageCommands(t *testing.T) string {
	t.Helper()
	section := docs.Section(t, docs.Page(t, filepath.Join(root(t), "docs", "getting-started.md")), "### The same by hand")
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, -1)
	if len(blocks) < 10 {
		t.Fatalf("%d blocks of commands; want those from the images to the pod", len(blocks))
	}
	var all strings.Builder
	for _, block := range blocks {
		all.WriteString(block[1])
	}
	return all.String()
}

// kind is a cluster as kind would make it, and the programs to go there.
type kind struct {
	*node.Node
	programs string // a folder
}

func newKind(t *testing.T) *kind {
	t.Helper()
	k := &kind{Node: node.Start(t, node.Config{Issuers: []string{kindIssuer}}), programs: t.TempDir()}
	played, err := filepath.Abs("testdata/kind")
	if err != nil {
		t.Fatal(err)
	}
	for name, program := range map[string]string{
		"kind": filepath.Join(played, "kind"), "make": filepath.Join(played, "make"), "helm": helmProgram(t),
	} {
		if err := os.Symlink(program, filepath.Join(k.programs, name)); err != nil {
			t.Fatal(err)
		}
	}
	script := "#!/bin/sh\nexec " + servers.RequireKube(t) + " kubectl \"$@\"\n"
	if err := os.WriteFile(filepath.Join(k.programs, "kubectl"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return k
}

// run runs commands in a checkout on the node. They must succeed, and end with
// an access token of the sample.
func (k *kind) run(t *testing.T, images, name string, args ...string) {
	t.Helper()
	checkout := t.TempDir()
	if err := os.Mkdir(filepath.Join(checkout, "dist"), 0o700); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"deploy": filepath.Join(root(t), "deploy"), "dist/images": images} {
		if err := os.Symlink(target, filepath.Join(checkout, link)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := k.Command(t.Context(), "env", append([]string{"--chdir=" + checkout, name}, args...)...)
	cmd.Env = append(cmd.Env, "PATH="+k.programs+":"+os.Getenv("PATH"), "KIND="+filepath.Join(k.programs, "kind"),
		"WORK="+filepath.Join(k.programs, "work"), "IMAGES="+images,
		"ISSUER="+kindIssuer, "MADE="+filepath.Join(k.programs, "made"), "ADMIN="+k.Kubeconfig(), "CTR="+servers.RequireRuntime(t).Ctr(), "SOCKET="+k.Socket())
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Got an access token.") {
		t.Fatalf("%v; want no error, and an access token\n%s\n%s", err, out, k.state(t))
	}
	t.Logf("%s", out)
}

func (k *kind) state(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, args := range [][]string{{"get", "pods", "--all-namespaces"}, {"get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"}} {
		out, err := k.Kubectl(t.Context(), args...).CombinedOutput()
		fmt.Fprintf(&all, "%s%v\n", out, err)
	}
	return all.String()
}
