package mutate_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/pkg/mutate"
)

const (
	clientID = "11111111-2222-3333-4444-555555555555"
	tenantID = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
)

func mutator(t testing.TB, options mutate.Options) *mutate.Mutator {
	t.Helper()
	m, err := mutate.New(options)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func parse(t testing.TB, raw string) mutate.Pod {
	t.Helper()
	pod, err := mutate.ParsePod([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

func ExampleMutator_Patch() {
	m, err := mutate.New(mutate.Options{TenantID: "contoso.onmicrosoft.com"})
	if err != nil {
		fmt.Println(err)
		return
	}
	pod, err := mutate.ParsePod([]byte(`{"metadata":{"labels":{"azure.workload.identity/use":"true"}},
		"spec":{"serviceAccountName":"app","containers":[{"name":"app","env":[{"name":"AZURE_TENANT_ID","value":"other.example"}]}]}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	result, err := m.Patch(pod, mutate.Identity{Namespace: "shop", Name: pod.ServiceAccount})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(result.Outcome)
	fmt.Println(strings.ReplaceAll(string(result.Patch), `},{"op"`, "},\n {\"op\""))
	fmt.Println(result.Warnings[0])
	// Output:
	// mutated
	// [{"op":"add","path":"/spec/containers/0/env/0","value":{"name":"AZURE_FEDERATED_TOKEN_FILE","value":"/var/run/secrets/azure/tokens/azure-identity-token"}},
	//  {"op":"add","path":"/spec/containers/0/env/1","value":{"name":"AZURE_AUTHORITY_HOST","value":"https://login.microsoftonline.com/"}},
	//  {"op":"add","path":"/spec/containers/0/volumeMounts","value":[{"name":"azure-identity-token","readOnly":true,"mountPath":"/var/run/secrets/azure/tokens"}]},
	//  {"op":"add","path":"/spec/volumes","value":[{"name":"azure-identity-token","projected":{"sources":[{"serviceAccountToken":{"audience":"api://AzureADTokenExchange","expirationSeconds":3600,"path":"azure-identity-token"}}]}}]}]
	// ServiceAccount shop/app has no annotation azure.workload.identity/client-id: AZURE_CLIENT_ID is not set in container "app"
}

func TestOutcomes(t *testing.T) {
	m := mutator(t, mutate.Options{TenantID: tenantID})
	labelled := `{"metadata":{"labels":{"azure.workload.identity/use":"true"}%s},"spec":{"containers":[{"name":"app"}]}}`
	pod := fmt.Sprintf(labelled, "")
	first, err := patchOf(m, []byte(pod), benchIdentity())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		pod  string
		want mutate.Outcome
	}{
		"a pod that lacks everything":          {pod, mutate.Mutated},
		"the same, mutated":                    {string(apply(t, []byte(pod), first.Patch)), mutate.Complete},
		"a pod without labels":                 {`{"metadata":{"labels":null},"spec":{"containers":[]}}`, mutate.NotLabelled},
		"a pod with the label's value in caps": {`{"metadata":{"labels":{"azure.workload.identity/use":"TRUE"}},"spec":{}}`, mutate.NotLabelled},
		"a mirror pod":                         {fmt.Sprintf(labelled, `,"annotations":{"kubernetes.io/config.mirror":"x"}`), mutate.MirrorPod},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := patchOf(m, []byte(c.pod), benchIdentity())
			if err != nil || got.Outcome != c.want || (got.Patch != nil) != (c.want == mutate.Mutated) {
				t.Errorf("outcome %q, patch %s, error %v; want %q", got.Outcome, got.Patch, err, c.want)
			}
		})
	}
}

// The caller answers a refusal to the user, and anything else as a bad request.
func TestErrorsAreTyped(t *testing.T) {
	m := mutator(t, mutate.Options{TenantID: tenantID})
	_, err := m.Patch(parse(t, `{"metadata":{"labels":{"azure.workload.identity/use":"true"},"annotations":{"azure.workload.identity/service-account-token-expiration":"x"}},"spec":{}}`), mutate.Identity{})
	if _, ok := errors.AsType[*mutate.Refusal](err); !ok || !errors.Is(err, mutate.ReasonAnnotation) || errors.Is(err, mutate.ReasonVolume) {
		t.Errorf("error %#v; want a refusal for a bad annotation", err)
	}
	_, err = mutate.ParsePod([]byte("{"))
	if _, ok := errors.AsType[*mutate.InputError](err); !ok {
		t.Errorf("error %#v; want an input error", err)
	}
}

func TestParsePodReadsWhoAsks(t *testing.T) {
	type names struct{ Name, GenerateName, Namespace, ServiceAccount string }
	for name, c := range map[string]struct {
		raw  string
		want names
	}{
		"all names":                       {`{"kind":"Pod","metadata":{"name":"a","generateName":"b","namespace":"c"},"spec":{"serviceAccountName":"d"}}`, names{"a", "b", "c", "d"}},
		"no names":                        {` { "spec" : { } } `, names{"", "", "", "default"}},
		"the older name of the field":     {`{"spec":{"serviceAccount":"d"}}`, names{"", "", "", "d"}},
		"both names":                      {`{"spec":{"serviceAccount":"x","serviceAccountName":"d"}}`, names{"", "", "", "d"}},
		"null":                            {`{"metadata":null,"spec":{"serviceAccountName":null}}`, names{"", "", "", "default"}},
		"escapes in names and values":     {`{"\u006detadata":{"name":"\u0061\"\\\/\ud83d\ude00"},"spec":{}}`, names{"a\"\\/\U0001F600", "", "", "default"}},
		"names in another case":           {`{"Metadata":{"name":"x"},"METADATA":{"name":"y"},"spec":{"ServiceAccountName":"x"}}`, names{"", "", "", "default"}},
		"a member twice: the last counts": {`{"spec":{"serviceAccountName":"x"},"spec":{"serviceAccountName":"d"}}`, names{"", "", "", "d"}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := parse(t, c.raw)
			if diff := cmp.Diff(c.want, names{pod.Name, pod.GenerateName, pod.Namespace, pod.ServiceAccount}); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestParsePodRefuses(t *testing.T) {
	deep := strings.Repeat(`[`, 10_000)
	for name, c := range map[string]struct{ raw, want string }{
		"nothing":                     {``, `reading pod: byte 0: want an object`},
		"null":                        {`null`, `reading pod: byte 0: want an object of kind Pod with a spec`},
		"a list":                      {`[]`, `reading pod: byte 0: want an object`},
		"another kind":                {`{"kind":"Deployment","spec":{}}`, `reading pod: byte 0: want an object of kind Pod with a spec`},
		"no spec":                     {`{"kind":"Pod"}`, `reading pod: byte 0: want an object of kind Pod with a spec`},
		"a spec that is null":         {`{"spec":null}`, `reading pod: byte 0: want an object of kind Pod with a spec`},
		"something behind":            {`{"spec":{}}{}`, `reading pod: byte 11: want nothing more`},
		"an end in the middle":        {`{"spec":{"containers":[`, `reading pod: byte 23: want an object`},
		"no closing quote":            {`{"spec`, `reading pod: byte 6: want a closing '"'`},
		"a name without quotes":       {`{spec:{}}`, `reading pod: byte 1: want a name in quotes`},
		"no colon":                    {`{"spec" {}}`, `reading pod: byte 8: want ':'`},
		"a comma too many":            {`{"spec":{},}`, `reading pod: byte 11: want a name in quotes`},
		"no comma":                    {`{"spec":{"x":[1 2]}}`, `reading pod: byte 16: want ','`},
		"a control character":         {"{\"a\nb\":1}", `reading pod: byte 3: want no control character in a string`},
		"a bad escape":                {`{"a\x":1}`, `reading pod: byte 4: want an escape sequence`},
		"half an escape":              {`{"a\u12g4":1}`, `reading pod: byte 4: want an escape sequence`},
		"a bad word":                  {`{"a":nil}`, `reading pod: byte 5: want null`},
		"a bad number":                {`{"a":-}`, `reading pod: byte 6: want a value`},
		"a number with nothing ahead": {`{"a":.5}`, `reading pod: byte 5: want a value`},
		"containers in an object":     {`{"spec":{"containers":{}}}`, `reading pod: byte 22: want an array`},
		"a container that is null":    {`{"spec":{"containers":[null]}}`, `reading pod: byte 23: want an object`},
		"a name that is a number":     {`{"metadata":{"name":1}}`, `reading pod: byte 20: want a string`},
		"a port that is a fraction":   {`{"spec":{"containers":[{"ports":[{"containerPort":80.5}]}]}}`, `reading pod: byte 50: want a whole number`},
		"hostNetwork as text":         {`{"spec":{"hostNetwork":"true"}}`, `reading pod: byte 23: want true or false`},
		"nesting without end":         {`{"x":` + deep, `reading pod: byte 10004: want no deeper nesting`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := mutate.ParsePod([]byte(c.raw))
			if err == nil || err.Error() != c.want {
				t.Errorf("error %v; want %s", err, c.want)
			}
		})
	}
}

func TestLint(t *testing.T) {
	labels := map[string]string{"azure.workload.identity/use": "true"}
	account := mutate.Identity{Namespace: "shop", Name: "app"}
	for name, c := range map[string]struct {
		pod      string
		identity mutate.Identity
		want     []string
	}{
		"all is well": {
			`{"metadata":{"namespace":"shop","labels":{"azure.workload.identity/use":"true"}},"spec":{"serviceAccountName":"app"}}`, account, nil,
		},
		"a label on the ServiceAccount, too, does no harm": {
			`{"metadata":{"labels":{"azure.workload.identity/use":"true"}},"spec":{"serviceAccountName":"app"}}`,
			mutate.Identity{Name: "app", Labels: labels},
			nil,
		},
		"no label": {
			`{"spec":{"serviceAccountName":"app"}}`, account,
			[]string{`the pod has no label azure.workload.identity/use: it gets no identity; want the value "true"`},
		},
		"the label on the ServiceAccount alone": {
			`{"spec":{"serviceAccountName":"app"}}`,
			mutate.Identity{Namespace: "shop", Name: "app", Labels: labels},
			[]string{`label azure.workload.identity/use is on ServiceAccount shop/app: it belongs on the pod, which gets no identity without`},
		},
		"the label as an annotation": {
			`{"metadata":{"annotations":{"azure.workload.identity/use":"true"}},"spec":{"serviceAccountName":"app"}}`, account,
			[]string{`annotation azure.workload.identity/use of the pod has to be a label: the pod gets no identity without`},
		},
		"another value": {
			`{"metadata":{"labels":{"azure.workload.identity/use":"yes"}},"spec":{"serviceAccountName":"app"}}`, account,
			[]string{`label azure.workload.identity/use of the pod is "yes": the pod gets no identity; want "true"`},
		},
		"another ServiceAccount in another namespace": {
			`{"metadata":{"namespace":"till","labels":{"azure.workload.identity/use":"true"}},"spec":{}}`, account,
			[]string{`the pod runs as ServiceAccount "default", not "app"`, `the pod is in namespace "till", the ServiceAccount in "shop"`},
		},
		"annotations of the ServiceAccount that say nothing there": {
			`{"metadata":{"labels":{"azure.workload.identity/use":"true"}},"spec":{"serviceAccountName":"app"}}`,
			mutate.Identity{Namespace: "shop", Name: "app", Annotations: map[string]string{
				mutate.AnnotationClientID: clientID, mutate.AnnotationInjectProxy: "true", "example.com/x": "",
			}},
			[]string{`annotation azure.workload.identity/inject-proxy-sidecar on ServiceAccount shop/app has no effect`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, mutate.Lint(parse(t, c.pod), c.identity)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Whoever reads false off an annotation in any of these ways must not be surprised.
func TestSpellingsOfFalse(t *testing.T) {
	m := mutator(t, mutate.Options{TenantID: tenantID, Proxy: mutate.Proxy{Image: "proxy"}})
	for value, injects := range map[string]bool{
		"false": false, "False": false, "FALSE": false, " false ": false, "f": false, "0": false, "no": false, "N": false, "off": false,
		"true": true, "True": true, "1": true, "yes": true, "on": true,
	} {
		raw := fmt.Sprintf(`{"metadata":{"labels":{"azure.workload.identity/use":"true"},"annotations":{"azure.workload.identity/inject-proxy-sidecar":%q}},"spec":{"containers":[{"name":"app"}]}}`, value)
		result, err := patchOf(m, []byte(raw), benchIdentity())
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(result.Patch), mutate.ProxyContainer); got != injects || len(result.Warnings) > 0 {
			t.Errorf("%q: injects is %v, warnings %q; want %v and none", value, got, result.Warnings, injects)
		}
	}
}

// proxied is a pod that asks for the proxy, with further annotations.
const proxied = `{"metadata":{"labels":{"azure.workload.identity/use":"true"},"annotations":{"azure.workload.identity/inject-proxy-sidecar":"true"%s}},
	"spec":{"initContainers":[{"name":"migrate"}],"containers":[{"name":"app"}]}}`

func TestModesThatDoNotExist(t *testing.T) {
	m := mutator(t, mutate.Options{TenantID: tenantID, Proxy: mutate.Proxy{Image: "proxy"}})
	for _, value := range []string{"Env", "ENV", " env", "env ", "Redirect", "redirect,env", "true", "none"} {
		_, err := patchOf(m, fmt.Appendf(nil, proxied, fmt.Sprintf(`,"azure.workload.identity/proxy-mode":%q`, value)), benchIdentity())
		want := fmt.Sprintf(`annotation azure.workload.identity/proxy-mode on the pod is %q; want "redirect" or "env"`, value)
		if !errors.Is(err, mutate.ReasonAnnotation) || err.Error() != want {
			t.Errorf("error %v; want %s", err, want)
		}
	}
}

// What a pod has of one mode stays when it is asked about in the other: another
// webhook may write the annotation in between, and people copy pods.
func TestModeChangesInBetween(t *testing.T) {
	for _, mode := range []struct{ first, then mutate.ProxyMode }{{mutate.ProxyRedirect, mutate.ProxyEnv}, {mutate.ProxyEnv, mutate.ProxyRedirect}} {
		for _, plain := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, then %s, plain sidecar %v", mode.first, mode.then, plain), func(t *testing.T) {
				m := mutator(t, mutate.Options{TenantID: tenantID, Proxy: mutate.Proxy{Image: "proxy", Mode: mode.first, PlainSidecar: plain}})
				once, ok := settled(t, m, benchIdentity(), fmt.Appendf(nil, proxied, ""))
				if !ok {
					t.Fatal("refused")
				}
				const asks = `"azure.workload.identity/inject-proxy-sidecar":"true"`
				changed := strings.Replace(string(once), asks, asks+fmt.Sprintf(`,"azure.workload.identity/proxy-mode":%q`, mode.then), 1)
				twice, ok := settled(t, m, benchIdentity(), []byte(changed))
				if !ok {
					t.Fatal("refused when asked again")
				}
				checkWhole(t, twice, benchIdentity())
				// Each is there once, whichever came first; init containers have no proxy beside a plain one.
				variables := 2
				if plain {
					variables = 1
				}
				for text, want := range map[string]int{`"name":"azwi-proxy"`: 1, `"name":"azwi-proxy-init"`: 1, `"name":"AZURE_POD_IDENTITY_AUTHORITY_HOST"`: variables} {
					if got := strings.Count(string(twice), text); got != want {
						t.Errorf("%d times %s; want %d:\n%s", got, text, want, twice)
					}
				}
			})
		}
	}
}

func TestNothingIsWarnedOfWithoutEnd(t *testing.T) {
	containers := make([]string, 100)
	for i := range containers {
		containers[i] = fmt.Sprintf(`{"name":"c%d","envFrom":[{"secretRef":{"name":"s"}}]}`, i)
	}
	m := mutator(t, mutate.Options{TenantID: tenantID})
	result, err := patchOf(m, []byte(`{"metadata":{"labels":{"azure.workload.identity/use":"true"}},"spec":{"containers":[`+strings.Join(containers, ",")+`]}}`), benchIdentity())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`envFrom of containers "c0", "c1", "c2", "c3", "c4" and 95 more may carry AZURE_* variables: those added by the webhook win over it`}
	if diff := cmp.Diff(want, result.Warnings); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Many pods at once, and one after another, see the same options.
func TestMutatorKeepsNothing(t *testing.T) {
	m := mutator(t, mutate.Options{TenantID: tenantID, Proxy: mutate.Proxy{Image: "proxy"}})
	const raw = `{"metadata":{"labels":{"azure.workload.identity/use":"true"},"annotations":{"azure.workload.identity/inject-proxy-sidecar":"true"%s}},"spec":{"containers":[{"name":"app"}]}}`
	plain, special := parse(t, fmt.Sprintf(raw, "")), parse(t, fmt.Sprintf(raw, `,"azure.workload.identity/proxy-cpu-request":"77m"`))
	want, err := m.Patch(plain, benchIdentity())
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20 {
				if _, err := m.Patch(special, benchIdentity()); err != nil {
					t.Error(err)
				}
				got, err := m.Patch(plain, benchIdentity())
				if diff := cmp.Diff(want, got); err != nil || diff != "" {
					t.Errorf("error %v, -want +got:\n%s", err, diff)
				}
			}
		})
	}
	group.Wait()
}

// Nesting is what counts, not the number of lists.
func TestManyLists(t *testing.T) {
	raw := `{"spec":{},"x":[` + strings.Repeat("[],", 20_000) + `{}]}`
	if _, err := mutate.ParsePod([]byte(raw)); err != nil {
		t.Error(err)
	}
}

func TestParseCloud(t *testing.T) {
	for name, want := range map[string]string{
		"": "https://login.microsoftonline.com/", "AzurePublicCloud": "https://login.microsoftonline.com/",
		"AZUREUSGOVERNMENTCLOUD": "https://login.microsoftonline.us/", "AzureChinaCloud": "https://login.chinacloudapi.cn/",
	} {
		if cloud, err := mutate.ParseCloud(name); err != nil || cloud.AuthorityHost != want {
			t.Errorf("%q: %+v, %v; want %s", name, cloud, err, want)
		}
	}
	const want = `cloud "AzureGermanCloud" is unknown; want one of AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud`
	if _, err := mutate.ParseCloud("AzureGermanCloud"); err == nil || err.Error() != want {
		t.Errorf("error %v; want %s", err, want)
	}
}
