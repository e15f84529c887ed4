package mutate_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/issuer-sync/issuer-sync/pkg/mutate"
)

// benchPod reads a pod of 6 KB with three containers, as the API server sends
// them: made by hand after a Deployment's, managed fields included.
func benchPod(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "bench-pod.json"))
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		t.Fatal(err)
	}
	return compact.Bytes()
}

func benchIdentity() mutate.Identity {
	return mutate.Identity{Namespace: "shop", Name: "app", Annotations: map[string]string{mutate.AnnotationClientID: clientID}}
}

func benchmarkPod(b *testing.B, raw []byte) {
	m := mutator(b, mutate.Options{TenantID: tenantID, Proxy: mutate.Proxy{Image: "registry.example/proxy:v1"}})
	identity := benchIdentity()
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if result, err := patchOf(m, raw, identity); err != nil || result.Patch == nil {
			b.Fatal(result, err)
		}
	}
}

func BenchmarkPod(b *testing.B) { benchmarkPod(b, benchPod(b)) }

func BenchmarkPodWithProxy(b *testing.B) {
	benchmarkPod(b, bytes.Replace(benchPod(b), []byte(`"annotations":{`), []byte(`"annotations":{"`+mutate.AnnotationInjectProxy+`":"true",`), 1))
}

// TestAllocations holds the part of the speed target that no other load on the
// machine can spoil.
func TestAllocations(t *testing.T) {
	const most = 150
	m, raw, identity := mutator(t, mutate.Options{TenantID: tenantID}), benchPod(t), benchIdentity()
	allocations := testing.AllocsPerRun(100, func() {
		if _, err := patchOf(m, raw, identity); err != nil {
			t.Fatal(err)
		}
	})
	if allocations > most {
		t.Errorf("%.0f allocations for a pod of 6 KB; want at most %d", allocations, most)
	}
}
