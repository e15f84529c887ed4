package guides_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/issuer-sync/issuer-sync/test/docs"
)

// Examples in YAML are YAML, without a key twice, and those for a shell are what
// bash takes.
func TestExamplesParse(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal("bash is missing; install it")
	}
	checks := map[string]func(string) error{
		"yaml": func(text string) error { _, err := documents(text); return err },
		"sh": func(text string) error {
			cmd := exec.CommandContext(t.Context(), bash, "-n")
			cmd.Stdin = strings.NewReader(text)
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		},
	}
	seen := map[string]int{}
	for _, path := range pages(t) {
		_, fences := split(docs.Page(t, path))
		for _, f := range fences {
			seen[f.language]++
			if check := checks[f.language]; check != nil {
				if err := check(f.text); err != nil {
					t.Errorf("%s, line %d: %v", path, f.line, err)
				}
			}
		}
	}
	for language := range checks {
		if seen[language] < 10 {
			t.Errorf("%d examples in %s were found; want the many that there are", seen[language], language)
		}
	}
}

// documents returns the YAML documents of a text, as JSON.
func documents(text string) (all [][]byte, err error) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		object, err := yaml.YAMLToJSONStrict(document)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(object, []byte("null")) {
			all = append(all, object)
		}
	}
}

// decoded reads the objects of a YAML file or text into what T has of them.
func decoded[T any](t *testing.T, text string) (all []T) {
	t.Helper()
	objects, err := documents(text)
	if err != nil {
		t.Fatalf("reading YAML: %v", err)
	}
	for _, object := range objects {
		var into T
		if err := yaml.Unmarshal(object, &into); err != nil {
			t.Fatalf("reading YAML: %v", err)
		}
		all = append(all, into)
	}
	return all
}
