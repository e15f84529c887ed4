package mutate_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/pkg/mutate"
)

// What a user can send is bounded by the API server alone: 3 MB. Warnings must
// not grow with it, patches with the number of containers only.
func TestHugePods(t *testing.T) {
	m := mutator(t, mutate.Options{TenantID: tenantID, Proxy: mutate.Proxy{Image: "proxy"}})
	repeat := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(strings.ReplaceAll(format, "#", fmt.Sprint(i)) + ",")
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	const head = `{"metadata":{"labels":{"azure.workload.identity/use":"true"},"annotations":{"azure.workload.identity/inject-proxy-sidecar":"true"`
	long := strings.Repeat("v", 100_000)
	for name, c := range map[string]struct {
		raw  string
		want error
	}{
		"containers":  {head + `}},"spec":{"containers":[` + repeat(100_000, `{"name":"c#"}`) + `]}}`, mutate.ReasonTooLarge},
		"skipped":     {head + `,"azure.workload.identity/skip-containers":"` + strings.ReplaceAll(repeat(50_000, "c#"), ",", ";") + `"}},"spec":{"containers":[` + repeat(1000, `{"name":"c#"}`) + `]}}`, nil},
		"mounts":      {head + `}},"spec":{"volumes":[` + repeat(20_000, `{"name":"v#"}`) + `],"containers":[{"name":"a","volumeMounts":[` + repeat(20_000, `{"name":"v#","mountPath":"/var/run/secrets/azure/tokens"}`) + `]}]}}`, mutate.ReasonMountPath},
		"a name":      {head + `}},"spec":{"volumes":[{"name":"` + long + `","projected":{"sources":[{"serviceAccountToken":{"audience":"api://AzureADTokenExchange","path":"azure-identity-token"}}]}}],"containers":[{"name":"a","volumeMounts":[{"name":"` + long + `","mountPath":"/var/run/secrets/azure/tokens"}]},` + repeat(100, `{"name":"c#"}`) + `]}}`, mutate.ReasonMountPath},
		"variables":   {head + `}},"spec":{"containers":[{"name":"a","env":[` + repeat(50_000, `{"name":"AZURE_#"}`) + `]}]}}`, nil},
		"annotations": {head + "," + repeat(50_000, `"azure.workload.identity/x#":"y"`) + `}},"spec":{"containers":[{"name":"a"}]}}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := patchOf(m, []byte(c.raw), benchIdentity())
			if !errors.Is(err, c.want) {
				t.Errorf("error %.200v; want %v", err, c.want)
			}
			if text := strings.Join(result.Warnings, "\n"); len(text) > 1000 {
				t.Errorf("warnings of %d bytes", len(text))
			}
			if bound := m.PatchBound(parse(t, c.raw)); len(result.Patch) > bound || bound > 2<<20 {
				t.Errorf("a patch of %d bytes, bound is %d", len(result.Patch), bound)
			}
		})
	}
}

// A pod is little more in memory than it is in JSON: there are reviews of 3 MB,
// several at a time, and the process has some 100 MB.
func TestMemoryIsBounded(t *testing.T) {
	m := mutator(t, mutate.Options{TenantID: tenantID, Proxy: mutate.Proxy{Image: "proxy"}})
	names := make([]byte, 0, 1<<20)
	for i := range 150_000 {
		names = fmt.Appendf(names, "%x;", i)
	}
	const annotation = `"azure.workload.identity/skip-containers":"%s"`
	for name, c := range map[string]struct{ annotations, spec, element string }{
		"containers":          {spec: `"containers":[%s]`, element: `{},`},
		"init containers":     {spec: `"initContainers":[%s]`, element: `{},`},
		"volumes":             {spec: `"volumes":[%s]`, element: `{},`},
		"projected volumes":   {spec: `"volumes":[%s]`, element: `{"projected":{}},`},
		"ports":               {spec: `"containers":[{"ports":[%s]}]`, element: `{},`},
		"sources":             {spec: `"containers":[{"envFrom":[%s]}]`, element: `{},`},
		"sources with prefix": {spec: `"containers":[{"envFrom":[%s]}]`, element: `{"prefix":"AZURE_"},`},
		"variables":           {spec: `"containers":[{"env":[%s]}]`, element: `{"name":"AZURE_"},`},
		"mounts":              {spec: `"containers":[{"volumeMounts":[%s]}]`, element: `{"mountPath":"/run/secrets/azure"},`},
		"skipped containers":  {annotations: fmt.Sprintf(annotation, names), spec: `"containers":[%s]`, element: `{},`},
	} {
		t.Run(name, func(t *testing.T) {
			elements := strings.TrimSuffix(strings.Repeat(c.element, 1<<20/len(c.element)), ",")
			if c.annotations != "" {
				elements = `{}`
			}
			raw := []byte(`{"metadata":{"labels":{"azure.workload.identity/use":"true"},"annotations":{` + c.annotations + `}},"spec":{` + fmt.Sprintf(c.spec, elements) + `}}`)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := patchOf(m, raw, benchIdentity())
			runtime.ReadMemStats(&after)
			if _, refused := errors.AsType[*mutate.Refusal](err); err != nil && !refused {
				t.Fatal(err)
			}
			// Lists that grow leave several times their size behind.
			if n := after.TotalAlloc - before.TotalAlloc; n > 16*uint64(len(raw)) {
				t.Errorf("allocated %d bytes, %.1f for each", n, float64(n)/float64(len(raw)))
			}
		})
	}
}

// What is added to a container is bounded, whatever the settings, and with it
// the number of containers.
func TestPatchesAreBounded(t *testing.T) {
	certificate, err := os.ReadFile(filepath.Join("testdata", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	domain := strings.Repeat(strings.Repeat("a", 61)+".", 4) + "a.com"
	endpoint := mutate.TokenEndpoint{Annotation: "x", Audience: "api://x", URL: "https://" + strings.Repeat("x", 200), ServerName: strings.Repeat("y", 200)}
	file, small, bundle := endpoint, endpoint, endpoint
	file.CAConfigMap, small.CAData, bundle.CAData = "ca", string(certificate), strings.Repeat(string(certificate), 300)
	for name, c := range map[string]struct {
		endpoint *mutate.TokenEndpoint
		most     int // containers
	}{
		"no endpoint":             {nil, 1000},
		"an endpoint":             {&endpoint, 680},
		"an endpoint, CA in file": {&file, 680},
		"an endpoint, CA data":    {&small, 563},
		"an endpoint, a bundle":   {&bundle, 10},
	} {
		for _, container := range []string{`{}`, `{"env":[],"volumeMounts":[]}`} {
			t.Run(name+" "+container, func(t *testing.T) {
				m := mutator(t, mutate.Options{
					TenantID: domain, SecondMount: true, TokenEndpoint: c.endpoint,
					Proxy: mutate.Proxy{Image: strings.Repeat("p", 300), Mode: mutate.ProxyEnv},
				})
				for _, n := range []int{0, 1, c.most, c.most + 1} {
					raw := fmt.Sprintf(`{"metadata":{"labels":{"azure.workload.identity/use":"true"},"annotations":{"azure.workload.identity/inject-proxy-sidecar":"true",
						"azure.workload.identity/use-x":"true"}},"spec":{"containers":[],"initContainers":[%s]}}`, strings.TrimSuffix(strings.Repeat(container+",", n), ","))
					result, err := patchOf(m, []byte(raw), benchIdentity())
					if errors.Is(err, mutate.ReasonTooLarge) != (n > c.most) {
						t.Errorf("%d containers: error %v", n, err)
					}
					if bound := m.PatchBound(parse(t, raw)); len(result.Patch) > bound || bound > 2<<20 {
						t.Errorf("%d containers: a patch of %d bytes, bound is %d", n, len(result.Patch), bound)
					}
				}
			})
		}
	}
}
