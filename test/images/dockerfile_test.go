package images_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// instruction is a line of a Dockerfile, with those that continue it.
type instruction struct{ name, rest string }

// readDockerfile knows as much of the format as the project's files need: no
// heredocs, no directives. https://docs.docker.com/reference/dockerfile/
func readDockerfile(t *testing.T, name string) []instruction {
	t.Helper()
	var all []instruction
	text := regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(string(readFile(t, name)), "")
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		all = append(all, instruction{name, strings.TrimSpace(rest)})
	}
	return all
}

// checkDockerfiles holds the Dockerfiles against the images that were made: same
// configuration and, as there is no engine to run them, the command that
// compiles is run by itself.
func checkDockerfiles(t *testing.T, root, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "deploy", "docker", "*.Dockerfile"))
	if err != nil || len(files) != len(images()) {
		t.Errorf("%d Dockerfiles, %v; want %d", len(files), err, len(images()))
	}
	for i, made := range readRecord(t, dir).Images {
		t.Run(made.Name+".Dockerfile", func(t *testing.T) {
			all := readDockerfile(t, filepath.Join(root, "deploy", "docker", made.Name+".Dockerfile"))
			last := 0
			for at, in := range all {
				if in.name == "FROM" {
					last = at
				}
			}
			checkBases(t, all)
			checkStage(t, all[last:], images()[i], made)
			checkCompiled(t, root, dir, all[:last], made)
		})
	}
}

// checkBases sees that no image is used but by a digest that the caller gives.
func checkBases(t *testing.T, all []instruction) {
	t.Helper()
	var bases []string
	for _, in := range all {
		if in.name == "FROM" {
			bases = append(bases, in.rest)
		}
	}
	want := []string{
		"--platform=$BUILDPLATFORM docker.io/library/golang:1.26@${GO_DIGEST:?want_--build-arg_GO_DIGEST=sha256:...} AS build",
		"gcr.io/distroless/static-debian12:nonroot@${BASE_DIGEST:?want_--build-arg_BASE_DIGEST=sha256:...}",
	}
	if diff := cmp.Diff(want, bases); diff != "" {
		t.Errorf("bases (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]instruction{{"ARG", "GO_DIGEST"}, {"ARG", "BASE_DIGEST"}}, all[:2], cmp.AllowUnexported(instruction{})); diff != "" {
		t.Errorf("before the first stage (-want +got):\n%s", diff)
	}
}

// checkStage holds the stage that is the image against the image that was made.
func checkStage(t *testing.T, stage []instruction, want image, made recorded) {
	t.Helper()
	got := map[string]string{}
	labels := map[string]string{}
	for _, in := range stage[1:] {
		if in.name == "LABEL" {
			for _, pair := range regexp.MustCompile(`(\S+)="([^"]*)"`).FindAllStringSubmatch(in.rest, -1) {
				labels[pair[1]] = strings.ReplaceAll(pair[2], "$VERSION", version)
			}
			continue
		}
		got[in.name] = in.rest
	}
	entrypoint, err := json.Marshal([]string{made.Entrypoint})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{
		"ARG": "VERSION=devel", "COPY": "--from=build /out/" + want.name + " " + made.Entrypoint,
		"USER": made.User, "WORKDIR": "/", "ENTRYPOINT": string(entrypoint),
	}, got); diff != "" {
		t.Errorf("instructions (-want +got):\n%s", diff)
	}
	wantLabels := want.labels()
	delete(wantLabels, "org.opencontainers.image.revision")
	if diff := cmp.Diff(wantLabels, labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
}

// checkCompiled copies what the build stage copies, runs its last command, and
// compares what that makes with the program in the image.
func checkCompiled(t *testing.T, root, dir string, stage []instruction, made recorded) {
	t.Helper()
	source, out := t.TempDir(), t.TempDir()
	for _, in := range stage {
		if fields := strings.Fields(in.rest); in.name == "COPY" {
			for _, from := range fields[:len(fields)-1] {
				copyInto(t, filepath.Join(root, from), filepath.Join(source, from))
			}
		}
	}
	command := stage[len(stage)-1]
	if command.name != "RUN" || !strings.Contains(command.rest, " -o /out/") {
		t.Fatalf("the last of the build stage is %v; want RUN ... -o /out/...", command)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(command.rest, " -o /out/", ` -o "$OUT"/`))
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "OUT="+out, "VERSION="+version, "TARGETOS=linux", "TARGETARCH="+runtime.GOARCH)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command.rest, err, text)
	}
	at := slices.IndexFunc(made.Platforms, func(p struct{ Platform, Digest, Config, Archive, SBOM string }) bool {
		return p.Platform == "linux/"+runtime.GOARCH
	})
	if at < 0 {
		t.Fatalf("there is no image for linux/%s to compare with", runtime.GOARCH)
	}
	files, got := readArchive(t, filepath.Join(dir, made.Platforms[at].Archive))
	for _, e := range readTar(t, unzip(t, files[got.Layers[0]])) {
		if e.Name == made.Name {
			if !bytes.Equal(e.content, readFile(t, filepath.Join(out, made.Name))) {
				t.Error("the program is not that of the image")
			}
			return
		}
	}
	t.Errorf("the image has no program %q", made.Name)
}

// copyInto copies a file or a folder.
func copyInto(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	if info.IsDir() {
		err = os.CopyFS(to, os.DirFS(from))
	} else {
		err = os.WriteFile(to, readFile(t, from), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
