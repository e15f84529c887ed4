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
	others   []string // kinds of all else
}

// podManifest is a pod, or what a workload would make.
type podManifest struct {
	origin string // names the object that it is from
	raw    json.RawMessage
}

// object has the fields of all kinds that are read.
type object struct {
	Kind     string            `json:"kind"`
	Items    []json.RawMessage `json:"items"`
	Metadata struct {
		Name        string            `json:"name"`
		Namespace   string            `json:"namespace"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		Template    json.RawMessage `json:"template"`
		JobTemplate struct {
			Spec struct {
				Template json.RawMessage `json:"template"`
			} `json:"spec"`
		} `json:"jobTemplate"`
	} `json:"spec"`
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
	if err := json.Unmarshal(raw, &o); err != nil {
		return err
	}
	origin := o.Kind + " " + o.Metadata.Name
	template := cmp.Or(string(o.Spec.Template), string(o.Spec.JobTemplate.Spec.Template))
	switch {
	case o.Kind == "Pod":
		m.pods = append(m.pods, podManifest{origin, raw})
	case o.Kind == "ServiceAccount":
		m.accounts = append(m.accounts, mutate.Identity{
			Namespace: o.Metadata.Namespace, Name: o.Metadata.Name, Annotations: o.Metadata.Annotations, Labels: o.Metadata.Labels,
		})
	case o.Items != nil:
		for _, item := range o.Items {
			if err := m.add(item); err != nil {
				return err
			}
		}
	case template != "":
		pod, err := podOf(o, template)
		if err != nil {
			return fmt.Errorf("%s: %w", origin, err)
		}
		m.pods = append(m.pods, podManifest{origin, pod})
	default:
		m.others = append(m.others, o.Kind)
	}
	return nil
}

// podOf returns a pod as the workload's controller makes it.
func podOf(workload object, template string) (json.RawMessage, error) {
	var pod map[string]any
	if err := json.Unmarshal([]byte(template), &pod); err != nil {
		return nil, fmt.Errorf("its pod template: %w", err)
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
