package mutate_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/issuer-sync/issuer-sync/pkg/mutate"
)

// FuzzPatch makes a pod, a ServiceAccount, options and another webhook of each
// seed, and holds what a patch promises: it applies, it only adds, the pod then
// lacks nothing, and what another webhook adds in between is completed in one
// further patch.
func FuzzPatch(f *testing.F) {
	for seed := range uint64(10) { // TestSeedsAreMostlyPatched has more
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		checkSeed(t, seed)
	})
}

// TestSeedsAreMostlyPatched: a generator of pods that are refused would hold
// nothing.
func TestSeedsAreMostlyPatched(t *testing.T) {
	reached := 0
	for seed := range uint64(300) {
		if checkSeed(t, seed) {
			reached++
		}
	}
	if reached < 100 {
		t.Errorf("%d of 300 seeds are patched, want 100", reached)
	}
}

// checkSeed reports whether the seed's pod was patched, and asked about again.
func checkSeed(t *testing.T, seed uint64) bool {
	t.Helper()
	g := generator{rand.New(rand.NewPCG(seed, 0))}
	m, identity := mutator(t, g.options()), g.identity()
	raw, err := json.Marshal(g.pod())
	if err != nil {
		t.Fatal(err)
	}
	once, ok := settled(t, m, identity, raw)
	if !ok {
		return false
	}
	checkWhole(t, once, identity)
	changed := g.foreign(t, once)
	twice, ok := settled(t, m, identity, changed)
	if !ok {
		t.Fatalf("admitted, then refused: %s", changed)
	}
	checkWhole(t, twice, identity)
	return string(once) != string(raw)
}

// settled returns raw with its patch applied, after checking the patch. It
// returns false for a refusal.
func settled(t *testing.T, m *mutate.Mutator, identity mutate.Identity, raw []byte) ([]byte, bool) {
	t.Helper()
	result, err := patchOf(m, raw, identity)
	if _, refused := errors.AsType[*mutate.Refusal](err); refused {
		return nil, false
	}
	if err != nil {
		t.Fatalf("%v\nof %s", err, raw)
	}
	if n, bound := len(result.Patch), m.PatchBound(parse(t, string(raw))); n > bound {
		t.Fatalf("a patch of %d bytes, bound is %d\nof %s", n, bound, raw)
	}
	out := apply(t, raw, result.Patch)
	var before, after any
	decode(t, raw, &before)
	decode(t, out, &after)
	if !holds(after, before) {
		t.Fatalf("the patch does more than add\nbefore %s\nafter  %s", raw, out)
	}
	again, err := patchOf(m, out, identity)
	if err != nil || again.Patch != nil {
		t.Fatalf("patched twice: error %v, patch %s\nof %s", err, again.Patch, out)
	}
	return out, true
}

// holds reports whether all of part is in whole: members in objects, elements
// in lists in their order. null holds nothing.
func holds(whole, part any) bool {
	switch part := part.(type) {
	case nil:
		return true
	case map[string]any:
		whole, ok := whole.(map[string]any)
		for name, value := range part {
			ok = ok && holds(whole[name], value)
		}
		return ok
	case []any:
		whole, ok := whole.([]any)
		for _, value := range part {
			i := slices.IndexFunc(whole, func(element any) bool { return holds(element, value) })
			if !ok || i < 0 {
				return false
			}
			whole = whole[i+1:]
		}
		return ok
	default:
		return whole == part
	}
}

// checkWhole checks a mutated pod with eyes of its own.
func checkWhole(t *testing.T, raw []byte, identity mutate.Identity) {
	t.Helper()
	type container struct {
		Name         string
		Env          []struct{ Name string }
		VolumeMounts []struct{ Name, MountPath string }
	}
	var pod struct {
		Metadata struct{ Labels, Annotations map[string]string }
		Spec     struct {
			Volumes                    []struct{ Name string }
			InitContainers, Containers []container
		}
	}
	decode(t, raw, &pod)
	if _, mirror := pod.Metadata.Annotations["kubernetes.io/config.mirror"]; mirror || pod.Metadata.Labels[mutate.Label] != "true" {
		return
	}
	volumes := 0
	for _, v := range pod.Spec.Volumes {
		if v.Name == mutate.VolumeName {
			volumes++
		}
	}
	skips := pod.Metadata.Annotations[mutate.AnnotationSkipContainers] != ""
	names := map[string]bool{}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if names[c.Name] {
			t.Fatalf("two containers %q in %s", c.Name, raw)
		}
		names[c.Name] = true
		mounts, variables := 0, map[string]int{}
		for _, mount := range c.VolumeMounts {
			if mount.MountPath == mutate.TokenDirectory {
				mounts++
			}
		}
		for _, variable := range c.Env {
			variables[variable.Name]++
		}
		if mounts > 1 || variables["AZURE_TENANT_ID"] > 1 || volumes > 1 {
			t.Fatalf("container %q has %d mounts of the token and variables %v, the pod %d volumes: %s", c.Name, mounts, variables, volumes, raw)
		}
		if skips || c.Name == mutate.ProxyInitContainer {
			continue
		}
		if mounts != 1 || variables["AZURE_TENANT_ID"] != 1 || variables["AZURE_FEDERATED_TOKEN_FILE"] != 1 ||
			identity.Annotations[mutate.AnnotationClientID] != "" && variables["AZURE_CLIENT_ID"] != 1 {
			t.Fatalf("container %q lacks something: %d mounts, variables %v in %s", c.Name, mounts, variables, raw)
		}
	}
}

// generator makes what users and other webhooks make: mostly valid, with the
// names that matter here far more often than chance would have them.
type generator struct{ *rand.Rand }

func (g generator) one(in int) bool { return g.IntN(in) == 0 }

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

func (g generator) options() mutate.Options {
	o := mutate.Options{TenantID: tenantID, SecondMount: g.one(4)}
	o.Proxy = mutate.Proxy{Image: "proxy", Mode: pick(g, mutate.ProxyRedirect, mutate.ProxyEnv), PlainSidecar: g.one(3)}
	if g.one(3) {
		o.TokenEndpoint = &mutate.TokenEndpoint{Annotation: "x", Audience: "api://x", URL: "https://x", CAConfigMap: pick(g, "", "ca")}
	}
	return o
}

func (g generator) identity() mutate.Identity {
	identity := benchIdentity()
	if g.one(3) {
		identity.Annotations = map[string]string{mutate.AnnotationTokenExpiration: pick(g, "", "3600", "7200", "no")}
	}
	return identity
}

func (g generator) pod() map[string]any {
	annotations := map[string]any{"other": "x"}
	possible := map[string]string{
		mutate.AnnotationInjectProxy:         pick(g, "true", "false", "odd"),
		mutate.AnnotationProxyPort:           pick(g, "8000", "8080", "0"),
		mutate.AnnotationProxyMode:           pick(g, "redirect", "env", "redirect", "env", "", "Env"),
		mutate.AnnotationSkipContainers:      pick(g, "a", "a; b ;", ";", mutate.ProxyContainer),
		mutate.AnnotationTokenExpiration:     pick(g, "3600", "", "1"),
		mutate.AnnotationProxyCPURequest:     pick(g, "1m", "1", "x"),
		"azure.workload.identity/use-x":      pick(g, "true", "false"),
		"azure.workload.identity/tenant-id":  "x",
		"kubernetes.io/config.mirror":        "x",
		"azure.workload.identity/unknown\n<": "x",
	}
	for _, name := range slices.Sorted(maps.Keys(possible)) { // the same for the same seed
		if g.one(3) && (name != "kubernetes.io/config.mirror" || g.one(9)) {
			annotations[name] = possible[name]
		}
	}
	metadata := map[string]any{"generateName": "app-", "labels": map[string]any{mutate.Label: pick(g, "true", "true", "true", "no"), "x": "y"}}
	if !g.one(4) {
		metadata["annotations"] = annotations
	}
	spec := map[string]any{"unknown": []any{g.IntN(9), nil, map[string]any{"é": 1.5}}}
	names := map[any]bool{}
	g.list(spec, "initContainers", 3, names, g.container)
	g.list(spec, "containers", 4, names, g.container)
	g.list(spec, "volumes", 3, map[any]bool{}, g.volume)
	if g.one(9) {
		spec["hostNetwork"] = true
	}
	return map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
}

// list sets the member to a list of up to most, to null, or not at all. seen
// holds what has to be unique, as an API server sees to.
func (g generator) list(object map[string]any, member string, most int, seen map[any]bool, element func() map[string]any) {
	if g.one(6) {
		if g.one(2) {
			object[member] = nil
		}
		return
	}
	list := []any{}
	for range g.IntN(most + 1) {
		e := element()
		key := cmp.Or(e["mountPath"], e["name"])
		if !seen[key] {
			list, seen[key] = append(list, e), true
		}
	}
	object[member] = list
}

func (g generator) container() map[string]any {
	c := map[string]any{"name": g.containerName(), "image": "x", "unknown": map[string]any{"a": nil}}
	g.list(c, "env", 5, map[any]bool{}, func() map[string]any {
		name := pick(g, "A", "AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_AUTHORITY_HOST", "AZURE_KUBERNETES_CA_DATA", "PROXY_PORT", "AZURE_POD_IDENTITY_AUTHORITY_HOST")
		return map[string]any{"name": name, "value": pick(g, "8000", "", "x\"y\\z\u2028")}
	})
	g.list(c, "volumeMounts", 2, map[any]bool{}, func() map[string]any {
		path := pick(g, "/data", "/data", mutate.TokenDirectory, "/run/secrets/azure/tokens", "/var/run/secrets/azure", "/var/run/secrets/azure/wi")
		return map[string]any{"name": pick(g, "data", mutate.VolumeName, "own"), "mountPath": path}
	})
	if g.one(5) {
		c["ports"] = []any{map[string]any{"containerPort": pick(g, 80, 8000)}}
	}
	if g.one(5) {
		c["envFrom"] = []any{map[string]any{"prefix": pick(g, "", "AZURE_", "B_")}}
	}
	if g.one(4) {
		c["restartPolicy"] = "Always"
	}
	if g.one(3) {
		c["args"] = []any{"--proxy-port=8000"}
	}
	return c
}

func (g generator) containerName() string {
	if g.one(8) {
		return pick(g, mutate.ProxyContainer, mutate.ProxyInitContainer)
	}
	return string(rune('a' + g.IntN(26)))
}

func (g generator) volume() map[string]any {
	name := pick(g, "data", "data", "own", mutate.VolumeName)
	if name == "data" {
		return map[string]any{"name": name, "emptyDir": map[string]any{}}
	}
	token := map[string]any{"path": "azure-identity-token", "audience": pick(g, "api://AzureADTokenExchange", "api://AzureADTokenExchange", "api://x")}
	if g.one(2) {
		token["expirationSeconds"] = 5000
	}
	return map[string]any{"name": name, "projected": map[string]any{"sources": []any{map[string]any{"serviceAccountToken": token}}}}
}

// foreign returns the pod as another webhook leaves it: with a name, with
// containers and volumes anywhere.
func (g generator) foreign(t *testing.T, raw []byte) []byte {
	var pod map[string]any
	decode(t, raw, &pod)
	pod["metadata"].(map[string]any)["name"] = "app-x7k2p"
	spec := pod["spec"].(map[string]any)
	for _, added := range [][2]string{{"containers", "mesh"}, {"initContainers", "mesh-init"}, {"volumes", "mesh-certs"}} {
		member, name := added[0], added[1]
		if g.one(3) {
			continue
		}
		list, _ := spec[member].([]any)
		at := g.IntN(len(list) + 1)
		spec[member] = slices.Insert(list, at, any(map[string]any{"name": name, "image": "mesh", "env": []any{map[string]any{"name": "MESH", "value": "1"}}}))
	}
	out, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// FuzzParsePod holds that a pod is read from JSON only, and that whatever is
// not read is JSON, too: json.Valid is the judge. Nothing makes it panic.
func FuzzParsePod(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.txtar"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range archive.Files {
			if part.Name == "pod.json" {
				f.Add(part.Data)
			}
		}
	}
	for _, value := range []string{
		`0`, `-0`, `01`, `1.`, `1.5e+3`, `1E-`, `-`, `+1`, `.5`, `tru`, `true1`, `nulll`, `"`, `"\u00"`, `"\ud800"`, "\"\x7f\"", "\"\xff\"",
		`[1,]`, `[,1]`, `[1 ,2 ]`, `{"a":1,}`, `{"a"}`, `{a:1}`, `[[[]]]`, "\ufeff1", "\"\t\"", `"\/"`, `[]]`, `{}}`,
	} {
		f.Add([]byte(`{"spec":{"x":` + value + `}}`))
		f.Add([]byte(`{"spec":{"containers":[{"ports":` + value + `}],"volumes":[` + value + `]},"metadata":{"labels":{"a":` + value + `}}}`))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		pod, err := mutate.ParsePod(raw)
		if err == nil && !json.Valid(raw) {
			t.Fatalf("read from what is not JSON: %q", raw)
		}
		// What a pod does not have is skipped, whatever its type.
		whole := slices.Concat([]byte(`{"spec":{},"x":`), raw, []byte(`}`))
		_, skipped := mutate.ParsePod(whole)
		if skipped == nil && !json.Valid(whole) || skipped != nil && json.Valid(raw) && json.Valid(whole) {
			t.Fatalf("skipped with error %v, but JSON is %v: %q", skipped, json.Valid(whole), whole)
		}
		if err == nil {
			m := mutator(t, mutate.Options{TenantID: tenantID, Proxy: mutate.Proxy{Image: "proxy"}})
			if result, err := m.Patch(pod, benchIdentity()); err == nil && result.Patch != nil && !json.Valid(result.Patch) {
				t.Fatalf("the patch is not JSON: %s", result.Patch)
			}
		}
	})
}
