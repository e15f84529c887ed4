//go:build linux

package e2e_test

import (
	"path/filepath"
	"runtime"
	"testing"

	"github.com/issuer-sync/issuer-sync/test/image"
	"github.com/issuer-sync/issuer-sync/test/program"
)

const (
	repository = "registry.test/issuer-sync" // there is no such registry: what is not imported is not found
	workloads  = "registry.test/workloads/"
	// bundle is where images have the CAs to trust.
	bundle = "/etc/ssl/certs/ca-certificates.crt"
)

// importImages makes the project's images as `make images` does, in a version,
// and has pods find them. Each gets one more layer: the CA of this world.
func (w *world) importImages(t *testing.T, version string) {
	t.Helper()
	folder := t.TempDir()
	if err := image.Build(t.Context(), filepath.Join(folder, "images"), repository, version, "linux/"+runtime.GOARCH); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"issuer-sync", "webhook", "proxy"} {
		w.pack(t, image.Spec{
			From: filepath.Join(folder, "images", name+"-"+version+"-"+runtime.GOARCH+".tar"),
			Tag:  repository + "/" + name + ":" + version, Files: []string{w.caBundle() + "=" + bundle},
		})
	}
}

// importWorkload makes an image of one of the programs below workloads.
func (w *world) importWorkload(t *testing.T, name string) {
	t.Helper()
	w.importProgram(t, name, program.Build(t, "test/e2e/workloads/"+name))
}

func (w *world) importProgram(t *testing.T, name, file string) {
	t.Helper()
	w.pack(t, image.Spec{
		Tag: workloads + name + ":1", Entrypoint: "/" + name, User: "65532",
		Files: []string{file + "=/" + name, w.caBundle() + "=" + bundle},
	})
}

func (w *world) pack(t *testing.T, spec image.Spec) {
	t.Helper()
	spec.Archive = filepath.Join(t.TempDir(), "image.tar")
	if err := image.Pack(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	w.Import(t, spec.Archive)
}
