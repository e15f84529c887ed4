//go:build linux

package node

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/test/image"
)

// pauseImage is what containerd runs first in each pod.
const pauseImage = "localhost/pause:1"

func (n *Node) importPause(ctx context.Context) error {
	archive := n.path("pause.tar")
	if err := image.Pack(ctx, image.Spec{Archive: archive, Tag: pauseImage, Entrypoint: "/pause", Files: []string{n.parts.pause + "=/pause"}}); err != nil {
		return err
	}
	return n.importArchive(ctx, archive)
}

// Import has pods find the images of docker archives or OCI layouts in tar files.
func (n *Node) Import(t testing.TB, archives ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for _, archive := range archives {
		if err := n.importArchive(ctx, archive); err != nil {
			t.Fatal(err)
		}
	}
}

func (n *Node) importArchive(ctx context.Context, archive string) error {
	if err := run(n.ctr(ctx, "images", "import", archive)); err != nil {
		return fmt.Errorf("importing %s: %w", filepath.Base(archive), err)
	}
	return nil
}
