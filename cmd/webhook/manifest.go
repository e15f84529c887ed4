package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/issuer-sync/issuer-sync/pkg/mutate"
)

// maxManifest bounds a manifest, in bytes: more than any chart renders.
const maxManifest = 64 << 20

// manifest is what matters of one.
type manifest struct {
	pods     []podManifest
	accounts []mutate.Identity
	kinds    []string // of all that is no pod
}

// podManifest is a pod, or what a workload would make.
type podManifest struct {
	origin string // names the object that it is from
	raw    json.RawMessage
}

// object has the fields of all kinds that are read. What kinds may have of
// another sort is read later.
type object struct {
	Kind     string          `json:"kind"`
	Metadata metadata        `json:"metadata"`
	Items    json.RawMessage `json:"items"`
	Spec     json.RawMessage `json:"spec"`
}

type metadata struct {
	Name         string            `json:"name"`
	GenerateName string            `json:"generateName"`
	Namespace    string            `json:"namespace"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
}

// readManifest reads YAML or JSON documents from a file; "-" is stdin.
func readManifest(file string, stdin io.Reader) (manifest, error) {
	source := stdin
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return manifest{}, fmt.Errorf("reading a manifest: %w", err)
		}
		defer opened.Close()
		source = opened
	}
	bounded := &io.LimitedReader{R: source, N: maxManifest + 1}
	var m manifest
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bounded))
	for number := 1; ; number++ {
		document, err := documents.Read()
		switch {
		case bounded.N == 0:
			return manifest{}, fmt.Errorf("manifest %q is larger than %d MiB", file, maxManifest>>20)
		case errors.Is(err, io.EOF):
			return m, nil
		case err == nil:
			err = m.addDocument(document)
		}
		if err != nil {
			return manifest{}, fmt.Errorf("manifest %q, document %d: %w", file, number, err)
		}
	}
}

func (m *manifest) addDocument(document []byte) error {
	raw, err := yaml.YAMLToJSONStrict(document)
	if err != nil || bytes.Equal(raw, []byte("null")) {
		return err
	}
	return m.add(raw)
}

func (m *manifest) add(raw json.RawMessage) error {
	var o object
	if err := read(raw, &o); err != nil {
		return err
	}
	origin := strings.TrimSpace(o.Kind + " " + cmp.Or(o.Metadata.Name, o.Metadata.GenerateName))
	template := o.podTemplate()
	switch {
	case o.Kind == "Pod":
		m.pods = append(m.pods, podManifest{origin, raw})
		return nil
	case strings.HasSuffix(o.Kind, "List") && o.Items != nil:
		return m.addItems(o.Items)
	case template != nil:
		pod, err := podOf(o, template)
		if err != nil {
			return fmt.Errorf("pod template of %s: %w", origin, err)
		}
		m.pods = append(m.pods, podManifest{origin, pod})
		return nil
	case o.Kind == "ServiceAccount":
		m.accounts = append(m.accounts, mutate.Identity{
			Namespace: o.Metadata.Namespace, Name: o.Metadata.Name, Annotations: o.Metadata.Annotations, Labels: o.Metadata.Labels,
		})
	}
	m.kinds = append(m.kinds, o.Kind)
	return nil
}

func (m *manifest) addItems(raw json.RawMessage) error {
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		return errors.New("items: want a list")
	}
	for _, item := range items {
		if err := m.add(item); err != nil {
			return err
		}
	}
	return nil
}

// podTemplate returns the template of a workload, as Deployments and CronJobs
// have it; nil for anything else. SealedSecret and ApplicationSet, for two, have
// templates of something else in the same place.
func (o object) podTemplate() json.RawMessage {
	var spec struct{ Template, JobTemplate json.RawMessage }
	var job struct {
		Spec struct{ Template json.RawMessage }
	}
	_ = json.Unmarshal(o.Spec, &spec) // what is of another sort is no template
	_ = json.Unmarshal(spec.JobTemplate, &job)
	template := json.RawMessage(cmp.Or(string(job.Spec.Template), string(spec.Template)))
	var pod struct {
		Spec struct{ Containers []json.RawMessage }
	}
	if json.Unmarshal(template, &pod) != nil || pod.Spec.Containers == nil {
		return nil
	}
	return template
}

// podOf returns a pod as the workload's controller makes it.
func podOf(workload object, template json.RawMessage) (json.RawMessage, error) {
	if err := read(template, new(object)); err != nil { // what is wrong is said as for a Pod
		return nil, err
	}
	var pod map[string]any
	if err := read(template, &pod); err != nil {
		return nil, err
	}
	metadata, _ := pod["metadata"].(map[string]any)
	if metadata == nil {
		metadata = map[string]any{}
	}
	metadata["generateName"] = workload.Metadata.Name + "-"
	if workload.Metadata.Namespace != "" {
		metadata["namespace"] = workload.Metadata.Namespace
	}
	pod["apiVersion"], pod["kind"], pod["metadata"] = "v1", "Pod", metadata
	return json.Marshal(pod)
}

// read decodes JSON, numbers as they are written. The error speaks of the
// manifest, not of Go's types.
func read(raw json.RawMessage, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	err := decoder.Decode(into)
	wrong, ok := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case !ok:
		return err
	case wrong.Field == "":
		return fmt.Errorf("it is of type %s; want an object of Kubernetes", wrong.Value)
	case wrong.Field == "metadata.labels", wrong.Field == "metadata.annotations":
		return fmt.Errorf("%s: a value is of type %s; want strings, such as \"true\" with its quotes", wrong.Field, wrong.Value)
	default:
		return fmt.Errorf("%s is of type %s; want %s", wrong.Field, wrong.Value, wrong.Type.Kind())
	}
}

// account returns the pod's ServiceAccount. If there is none of its name but only
// one in all, that is meant: a warning will tell that the names differ.
func (m manifest) account(pod mutate.Pod) (account mutate.Identity, found bool) {
	i := slices.IndexFunc(m.accounts, func(a mutate.Identity) bool {
		return a.Name == pod.ServiceAccount && (a.Namespace == pod.Namespace || a.Namespace == "" || pod.Namespace == "")
	})
	switch {
	case i >= 0:
		return m.accounts[i], true
	case len(m.accounts) == 1:
		return m.accounts[0], true
	}
	return mutate.Identity{Namespace: pod.Namespace, Name: pod.ServiceAccount}, false
}
