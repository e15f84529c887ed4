package mutate_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/issuer-sync/issuer-sync/pkg/mutate"
)

var update = flag.Bool("update", false, "rewrite the golden parts of testdata")

// TestGolden runs the cases in testdata. Each says what it is for, has as
// input a pod, the ServiceAccount and the options, and optionally what another
// webhook adds before this one is asked again; as output the patch, the pod
// that it makes, and the warnings, or the refusal.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runCase(t, archive)
			if *update {
				if err := os.WriteFile(file, txtar.Format(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(txtar.Format(archive)), string(txtar.Format(got))); diff != "" {
				t.Errorf("-want +got (go test -update rewrites what is wanted):\n%s", diff)
			}
		})
	}
}

type golden struct {
	ServiceAccount mutate.Identity
	Options        mutate.Options
}

// runCase returns the archive with its outputs as they are now.
func runCase(t *testing.T, archive *txtar.Archive) *txtar.Archive {
	t.Helper()
	inputs := map[string][]byte{}
	got := &txtar.Archive{Comment: archive.Comment}
	for _, file := range archive.Files {
		switch file.Name {
		case "case.json", "pod.json", "foreign.json":
			inputs[file.Name] = file.Data
			got.Files = append(got.Files, file)
		}
	}
	output := func(name, text string) {
		if text != "" {
			got.Files = append(got.Files, txtar.File{Name: name, Data: []byte(text)})
		}
	}
	var c golden
	decoder := json.NewDecoder(bytes.NewReader(inputs["case.json"]))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		t.Fatalf("case.json: %v", err)
	}
	m, err := mutate.New(c.Options)
	if err != nil {
		t.Fatal(err)
	}
	raw := inputs["pod.json"]
	result, err := patchOf(m, raw, c.ServiceAccount)
	if refusal, ok := errors.AsType[*mutate.Refusal](err); ok {
		output("refusal.txt", fmt.Sprintf("%s: %s\n", refusal.Reason, refusal))
		return got
	}
	if err != nil {
		t.Fatal(err)
	}
	output("patch.json", onePerLine(t, result.Patch))
	output("warnings.txt", lines(result.Warnings))
	pod := apply(t, raw, result.Patch)
	if foreign, ok := inputs["foreign.json"]; ok {
		pod = apply(t, pod, foreign)
		again, err := patchOf(m, pod, c.ServiceAccount)
		if err != nil {
			t.Fatalf("asked again: %v", err)
		}
		output("again.json", onePerLine(t, again.Patch))
		pod = apply(t, pod, again.Patch)
	}
	if string(pod) != string(raw) {
		output("want.json", indented(t, pod))
	}
	last, err := patchOf(m, pod, c.ServiceAccount)
	if err != nil || last.Patch != nil {
		t.Errorf("asked once more: patch %s, error %v; want neither", last.Patch, err)
	}
	return got
}

func patchOf(m *mutate.Mutator, raw []byte, identity mutate.Identity) (mutate.Result, error) {
	pod, err := mutate.ParsePod(raw)
	if err != nil {
		return mutate.Result{}, err
	}
	return m.Patch(pod, identity)
}

func onePerLine(t *testing.T, patch []byte) string {
	t.Helper()
	if patch == nil {
		return ""
	}
	var operations []json.RawMessage
	if err := json.Unmarshal(patch, &operations); err != nil {
		t.Fatal(err)
	}
	text := make([]string, len(operations))
	for i, operation := range operations {
		text[i] = "  " + string(operation)
	}
	return "[\n" + strings.Join(text, ",\n") + "\n]\n"
}

func indented(t *testing.T, data []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil {
		t.Fatal(err)
	}
	return b.String() + "\n"
}

func lines(texts []string) string {
	if len(texts) == 0 {
		return ""
	}
	return strings.Join(texts, "\n") + "\n"
}

// apply applies a patch of "add" operations (RFC 6902 section 4.1), the only
// ones there may be.
func apply(t testing.TB, raw, patch []byte) []byte {
	t.Helper()
	if patch == nil {
		return raw
	}
	var operations []struct {
		Op, Path string
		Value    any
	}
	decode(t, patch, &operations)
	var doc any
	decode(t, raw, &doc)
	for _, o := range operations {
		if o.Op != "add" {
			t.Fatalf("operation %q at %s; want none but \"add\"", o.Op, o.Path)
		}
		names := strings.Split(o.Path, "/")[1:]
		added, err := add(doc, names, o.Value)
		if err != nil {
			t.Fatalf("adding at %s: %v", o.Path, err)
		}
		doc = added
	}
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// add returns node with value added where names lead. It refuses to replace
// anything but null, which "add" would do.
func add(node any, names []string, value any) (any, error) {
	if len(names) == 0 {
		if node != nil {
			return nil, errors.New("there is a value already")
		}
		return value, nil
	}
	switch node := node.(type) {
	case map[string]any:
		child, err := add(node[names[0]], names[1:], value)
		node[names[0]] = child
		return node, err
	case []any:
		i := len(node)
		if names[0] != "-" {
			if _, err := fmt.Sscan(names[0], &i); err != nil || i > len(node) {
				return nil, fmt.Errorf("no index %q in a list of %d", names[0], len(node))
			}
		}
		if len(names) == 1 {
			return slices.Insert(node, i, value), nil
		}
		child, err := add(node[i], names[1:], value)
		node[i] = child
		return node, err
	default:
		return nil, fmt.Errorf("nothing to add %q to", names[0])
	}
}

func decode(t testing.TB, data []byte, into any) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
}
