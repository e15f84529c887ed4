package images_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Media types of OCI image-spec 1.1, media-types.md.
const (
	indexType    = "application/vnd.oci.image.index.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Platform    map[string]string `json:"platform"`
	Annotations map[string]string `json:"annotations"`
}

type index struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Manifests     []descriptor      `json:"manifests"`
	Annotations   map[string]string `json:"annotations"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

// layout is an OCI layout, and which of its blobs were read.
type layout struct {
	dir    string
	read   map[string]bool
	digest string            // of the index
	names  map[string]string // its annotations in index.json
	index  index
}

func readLayout(t *testing.T, dir string) layout {
	t.Helper()
	l := layout{dir: dir, read: map[string]bool{}}
	var marker map[string]string
	decode(t, readFile(t, filepath.Join(dir, "oci-layout")), &marker)
	if diff := cmp.Diff(map[string]string{"imageLayoutVersion": "1.0.0"}, marker); diff != "" {
		t.Errorf("oci-layout (-want +got):\n%s", diff)
	}
	var top index
	decode(t, readFile(t, filepath.Join(dir, "index.json")), &top)
	if top.SchemaVersion != 2 || top.MediaType != indexType || len(top.Manifests) != 1 || top.Manifests[0].MediaType != indexType {
		t.Fatalf("index.json: %+v; want one index of schema version 2", top)
	}
	l.digest, l.names = top.Manifests[0].Digest, top.Manifests[0].Annotations
	decode(t, l.blob(t, top.Manifests[0]), &l.index)
	if l.index.SchemaVersion != 2 || l.index.MediaType != indexType {
		t.Errorf("index: schema version %d, media type %q", l.index.SchemaVersion, l.index.MediaType)
	}
	return l
}

// blob reads what a descriptor describes, and holds it against size and digest.
func (l layout) blob(t *testing.T, d descriptor) []byte {
	t.Helper()
	if len(d.Digest) != len("sha256:")+64 {
		t.Fatalf("digest %q: want SHA-256", d.Digest)
	}
	name := d.Digest[len("sha256:"):]
	content := readFile(t, filepath.Join(l.dir, "blobs", "sha256", name))
	if int64(len(content)) != d.Size || sum(content) != name {
		t.Errorf("blob %s is of %d bytes with digest %s; want %d bytes", d.Digest, len(content), sum(content), d.Size)
	}
	l.read[name] = true
	return content
}

// checkAllRead finds blobs that nothing refers to.
func (l layout) checkAllRead(t *testing.T) {
	t.Helper()
	blobs, err := os.ReadDir(filepath.Join(l.dir, "blobs", "sha256"))
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range blobs {
		if !l.read[blob.Name()] {
			t.Errorf("blob %s is referred to by nothing", blob.Name())
		}
	}
}

func (l layout) readManifest(t *testing.T, d descriptor) manifest {
	t.Helper()
	var m manifest
	decode(t, l.blob(t, d), &m)
	if d.MediaType != manifestType || m.MediaType != manifestType || m.SchemaVersion != 2 || m.Config.MediaType != configType {
		t.Errorf("%s with %+v: want an OCI image manifest", d.MediaType, m)
	}
	if len(m.Layers) != 1 || m.Layers[0].MediaType != layerType {
		t.Fatalf("layers %+v; want one of %s", m.Layers, layerType)
	}
	return m
}

// config is an image's configuration, all of it: fields that are not here fail
// the test. OCI image-spec 1.1, config.md.
type config struct {
	Created      string           `json:"created"`
	Architecture string           `json:"architecture"`
	OS           string           `json:"os"`
	Config       settings         `json:"config"`
	RootFS       rootFS           `json:"rootfs"`
	History      []map[string]any `json:"history"`
}

type settings struct {
	User       string            `json:"User"`
	Entrypoint []string          `json:"Entrypoint"`
	Env        []string          `json:"Env"`
	WorkingDir string            `json:"WorkingDir"`
	Labels     map[string]string `json:"Labels"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/"

// checkConfig returns the image's layer, which is a tar archive.
func checkConfig(t *testing.T, l layout, m manifest, want image, architecture string) []byte {
	t.Helper()
	layer := unzip(t, l.blob(t, m.Layers[0]))
	var got config
	decode(t, l.blob(t, m.Config), &got)
	if diff := cmp.Diff(config{
		Created: created, Architecture: architecture, OS: "linux",
		Config: settings{
			User: want.user(), Entrypoint: []string{"/" + want.name}, Env: []string{searchPath}, WorkingDir: "/", Labels: want.labels(),
		},
		RootFS:  rootFS{Type: "layers", DiffIDs: []string{"sha256:" + sum(layer)}},
		History: []map[string]any{{"created": created, "created_by": "tools/images"}},
	}, got); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	return layer
}

// saved is an entry of a docker archive's manifest.json.
type saved struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// readArchive returns the entries of a docker archive, and its only image.
func readArchive(t *testing.T, name string) (map[string][]byte, saved) {
	t.Helper()
	files := map[string][]byte{}
	for _, e := range readTar(t, readFile(t, name)) {
		files[e.Name] = e.content
	}
	var list []saved
	decode(t, files["manifest.json"], &list)
	if len(list) != 1 {
		t.Fatalf("manifest.json has %d images; want 1", len(list))
	}
	return files, list[0]
}

// checkArchive holds a docker archive against the same image's configuration
// and layer in the layout.
func checkArchive(t *testing.T, name, tag string, configuration, layer []byte) {
	t.Helper()
	files, got := readArchive(t, name)
	if len(got.Layers) != 1 || len(files) != 3 {
		t.Fatalf("%d layers and %d files; want one layer in 3 files", len(got.Layers), len(files))
	}
	if diff := cmp.Diff(saved{Config: "sha256:" + sum(configuration), RepoTags: []string{tag}, Layers: got.Layers}, got); diff != "" {
		t.Errorf("manifest.json (-want +got):\n%s", diff)
	}
	if !bytes.Equal(files[got.Config], configuration) {
		t.Error("the configuration is not that of the layout")
	}
	if !bytes.Equal(unzip(t, files[got.Layers[0]]), layer) {
		t.Error("the layer is not that of the layout")
	}
}

type entry struct {
	tar.Header
	content []byte
}

func readTar(t *testing.T, archive []byte) []entry {
	t.Helper()
	var all []entry
	reader := tar.NewReader(bytes.NewReader(archive))
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, entry{*header, content})
	}
}

func unzip(t *testing.T, zipped []byte) []byte {
	t.Helper()
	reader, err := gzip.NewReader(bytes.NewReader(zipped))
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// decode refuses fields that the type does not have.
func decode(t *testing.T, text []byte, into any) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
}
