package kube_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/issuer-sync/issuer-sync/internal/kube"
)

// TestServerVersion has a fake for the API server. None of what others answer
// is quoted.
func TestServerVersion(t *testing.T) {
	const asking = "asking the API server for its version: "
	for _, test := range []struct {
		name, kind, body string
		status           int
		want             kube.Version
		err              string
	}{
		{"a version", "application/json", `{"major":"1","minor":"32","gitVersion":"v1.32.3"}`, 200, kube.Version{Major: 1, Minor: 32}, ""},
		{"a managed cluster's", "application/json", `{"major":"1","minor":"32+"}`, 200, kube.Version{Major: 1, Minor: 32}, ""},
		{"a plus sign on both", "application/json", `{"major":"2+","minor":"0+"}`, 200, kube.Version{Major: 2}, ""},
		{"text for a number", "application/json", `{"major":"1","minor":"x32"}`, 200, kube.Version{}, `the API server's version has major "1" and minor "x32"; want numbers`},
		{"no version", "application/json", `{}`, 200, kube.Version{}, `the API server's version has major "" and minor ""; want numbers`},
		{"numbers that are no strings", "application/json", `{"major":1,"minor":32}`, 200, kube.Version{}, "the API server's version: json: cannot unmarshal number into Go struct field .Major of type string"},
		{"somebody else's page", "text/html", "<CANARY>", 200, kube.Version{}, "the API server's version: invalid character '<' looking for beginning of value"},
		{
			"a refusal", "application/json",
			`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"not you","reason":"Forbidden","code":403}`,
			403,
			kube.Version{},
			asking + "not you",
		},
		{"a gateway", "text/html", "CANARY", 502, kube.Version{}, asking + "answered 502 Bad Gateway, without a Status of Kubernetes"},
		{"a redirect", "text/html", "CANARY", 302, kube.Version{}, asking + "answered 302 Found, without a Status of Kubernetes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			asked := 0
			fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if asked++; r.Method != http.MethodGet || r.URL.Path != "/version" {
					t.Errorf("asked for %s %s", r.Method, r.URL)
				}
				w.Header().Set("Content-Type", test.kind)
				w.Header().Set("Location", "/elsewhere")
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(test.status)
				fmt.Fprint(w, test.body)
			}))
			defer fake.Close()
			client, err := kube.NewClient(&rest.Config{Host: fake.URL})
			if err != nil {
				t.Fatal(err)
			}
			got, err := kube.ServerVersion(t.Context(), client)
			if text := fmt.Sprint(err); got != test.want || text != test.err && (test.err != "" || err != nil) {
				t.Errorf("got  %s, %v\nwant %s, %s", got, err, test.want, test.err)
			}
			if asked != 1 {
				t.Errorf("asked %d times", asked)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	old := kube.Version{Major: 1, Minor: 9}
	for _, test := range []struct {
		version kube.Version
		text    string
		atLeast bool
	}{
		{kube.Version{Major: 1, Minor: 8}, "1.8", false},
		{old, "1.9", true},
		{kube.Version{Major: 1, Minor: 10}, "1.10", true},
		{kube.Version{Major: 2, Minor: 0}, "2.0", true},
		{kube.Version{Major: 0, Minor: 99}, "0.99", false},
	} {
		if test.version.String() != test.text || test.version.AtLeast(old) != test.atLeast {
			t.Errorf("%s at least %s: %t; want %s, %t", test.version, old, test.version.AtLeast(old), test.text, test.atLeast)
		}
	}
}
