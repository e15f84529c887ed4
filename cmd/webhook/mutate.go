package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"sigs.k8s.io/yaml"

	"github.com/issuer-sync/issuer-sync/internal/command"
	"github.com/issuer-sync/issuer-sync/internal/settings"
	"github.com/issuer-sync/issuer-sync/pkg/mutate"
)

// mutateFlags are those of the command alone.
type mutateFlags struct {
	file           string
	serviceAccount string
	output         string
}

func newMutateCommand(lookup settings.Lookup) *cobra.Command {
	var f mutateFlags
	cmd := &cobra.Command{
		Use:   "mutate -f FILE [--service-account FILE]",
		Short: "Print what the webhook would make of a pod, without a cluster",
		Long: `Prints the pod of a manifest as the webhook would leave it. A manifest may hold a
Pod, or a workload with a pod template, and its ServiceAccount beside it. What
looks like a mistake is said on stderr; so is a refusal, and then nothing is
printed and the exit code is 1.

The webhook's own settings count: set them as they are in the cluster. The proxy
is a native sidecar unless --native-sidecar=never.`,
		Example: `  webhook mutate -f pod.yaml --service-account sa.yaml --tenant-id contoso.com
  helm template app ./chart | webhook mutate -f - --config webhook.yaml -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := loadPodConfig(cmd.Flags(), lookup)
			if err != nil {
				return err
			}
			return command.Failed(f.run(config, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()))
		},
	}
	cmd.Flags().StringVarP(&f.file, "filename", "f", "", `manifest with the pod, YAML or JSON; "-" is stdin`)
	cmd.Flags().StringVar(&f.serviceAccount, "service-account", "", "manifest with the pod's ServiceAccount, if it is not beside the pod")
	command.OutputFlag(cmd, &f.output, "yaml", "json")
	cmd.MarkFlagRequired("filename") //nolint:errcheck // the flag exists
	return cmd
}

func (f mutateFlags) run(config podConfig, stdin io.Reader, stdout, stderr io.Writer) error {
	mutator, err := config.mutator(config.Proxy.NativeSidecar == nativeNever)
	if err != nil {
		return err
	}
	m, err := f.read(stdin)
	if err != nil {
		return err
	}
	var mutated []json.RawMessage
	var refusals []error
	for _, p := range m.pods {
		pod, err := m.mutate(mutator, p, stderr)
		if err != nil {
			refusals = append(refusals, fmt.Errorf("%s: %w", p.origin, err))
			continue
		}
		mutated = append(mutated, pod)
	}
	if len(refusals) > 0 { // what is printed may be piped on to a cluster
		return errors.Join(refusals...)
	}
	return printObjects(stdout, f.output, mutated)
}

// read reads the pods and, from both files, the ServiceAccounts.
func (f mutateFlags) read(stdin io.Reader) (manifest, error) {
	m, err := readManifest(f.file, stdin)
	if err != nil {
		return manifest{}, err
	}
	if len(m.pods) == 0 {
		slices.Sort(m.kinds)
		return manifest{}, fmt.Errorf("manifest %q holds no pod, but %q; want a Pod, or a workload with a pod template", f.file, slices.Compact(m.kinds))
	}
	if f.serviceAccount == "" {
		return m, nil
	}
	beside, err := readManifest(f.serviceAccount, stdin)
	if err != nil {
		return manifest{}, err
	}
	if len(beside.accounts) == 0 {
		return manifest{}, fmt.Errorf("manifest %q holds no ServiceAccount", f.serviceAccount)
	}
	m.accounts = append(beside.accounts, m.accounts...)
	return m, nil
}

// mutate returns the pod as the webhook would leave it. What looks like a mistake
// goes to stderr.
func (m manifest) mutate(mutator *mutate.Mutator, p podManifest, stderr io.Writer) (json.RawMessage, error) {
	pod, err := mutate.ParsePod(p.raw)
	if err != nil {
		return nil, err
	}
	say := func(kind, text string) { fmt.Fprintf(stderr, "%s: %s: %s\n", kind, p.origin, text) }
	account, found := m.account(pod)
	if !found {
		say("warning", fmt.Sprintf("ServiceAccount %q is not in the manifests; going on as if it had no annotations", pod.ServiceAccount))
	}
	for _, warning := range mutate.Lint(pod, account) {
		say("warning", warning)
	}
	result, err := mutator.Patch(pod, account)
	if err != nil {
		return nil, err
	}
	for _, warning := range result.Warnings {
		say("warning", warning)
	}
	switch result.Outcome {
	case mutate.Mutated:
		return apply(p.raw, result.Patch)
	case mutate.Complete:
		say("unchanged", "the pod has everything already")
	case mutate.MirrorPod:
		say("unchanged", "it is the image of a static pod, which its node runs already")
	case mutate.NotLabelled: // a warning has said why
	}
	return p.raw, nil
}

// apply does as the API server does, with the library that it uses.
func apply(pod, patch []byte) (json.RawMessage, error) {
	decoded, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		return nil, fmt.Errorf("reading the patch: %w", err)
	}
	applied, err := decoded.Apply(pod)
	if err != nil {
		return nil, fmt.Errorf("applying the patch: %w", err)
	}
	return applied, nil
}

// printObjects prints objects as kubectl does: several are YAML documents, or
// one List in JSON.
func printObjects(w io.Writer, format string, objects []json.RawMessage) error {
	if len(objects) == 0 {
		return nil
	}
	if format == "json" {
		return printJSON(w, objects)
	}
	for i, object := range objects {
		text, err := yaml.JSONToYAML(object)
		if err != nil {
			return fmt.Errorf("writing YAML: %w", err)
		}
		if i > 0 {
			text = append([]byte("---\n"), text...)
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
	return nil
}

// printJSON sorts the keys, as YAML's are, so that one pod is always one text.
func printJSON(w io.Writer, objects []json.RawMessage) error {
	values := make([]any, len(objects))
	for i, object := range objects {
		if err := read(object, &values[i]); err != nil {
			return fmt.Errorf("writing JSON: %w", err)
		}
	}
	shown := values[0]
	if len(values) > 1 {
		shown = map[string]any{"apiVersion": "v1", "kind": "List", "items": values}
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(shown)
}
