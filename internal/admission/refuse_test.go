package admission_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/issuer-sync/issuer-sync/internal/admission"
	"github.com/issuer-sync/issuer-sync/pkg/mutate"
)

const mebibyte = 1 << 20

// TestBadInput holds the status and the text for whatever is no review.
func TestBadInput(t *testing.T) {
	good := review(t, pod("app", ""), nil)
	for _, test := range []struct {
		name   string
		method string // POST if empty
		path   string // Path if empty
		media  string // application/json if empty, none if "-"
		body   io.Reader
		status int
		want   string
		count  string
	}{
		{name: "another path", path: "/mutate-v1-pods", body: strings.NewReader(good), status: 404, want: "404 page not found"},
		{name: "a slash at the end", path: admission.Path + "/", body: strings.NewReader(good), status: 404, want: "404 page not found"},
		{name: "a slash too many", path: "/" + admission.Path, body: strings.NewReader(good), status: 404, want: "404 page not found"},
		{name: "GET", method: "GET", status: 405, want: `method "GET": want POST`, count: "error method"},
		{name: "HEAD", method: "HEAD", status: 405, want: `method "HEAD": want POST`, count: "error method"},
		{name: "PUT", method: "PUT", body: strings.NewReader(good), status: 405, want: `method "PUT": want POST`, count: "error method"},
		{name: "another media type", media: "text/plain", body: strings.NewReader(good), status: 415, want: `Content-Type "text/plain": want application/json`, count: "error media_type"},
		{name: "no media type", media: "-", body: strings.NewReader(good), status: 415, want: `Content-Type "": want application/json`, count: "error media_type"},
		{name: "a media type that begins alike", media: "application/json-patch+json", body: strings.NewReader(good), status: 415, want: `Content-Type "application/json-patch+json": want application/json`, count: "error media_type"},
		{name: "a media type with an empty parameter", media: "application/json;", body: strings.NewReader(good), status: 200, count: "allowed mutated"},
		{name: "a media type with a character set", media: "application/json; charset=utf-8", body: strings.NewReader(good), status: 200, count: "allowed mutated"},
		{name: "7 MiB", body: strings.NewReader(good + strings.Repeat(" ", 7*mebibyte-len(good))), status: 200, count: "allowed mutated"},
		{name: "a byte more than 7 MiB", body: strings.NewReader(good + strings.Repeat(" ", 7*mebibyte-len(good)+1)), status: 413, want: "the body has more than 7340032 bytes", count: "error body_too_large"},
		{
			name: "more than 7 MiB of unknown length", body: io.LimitReader(spaces{}, 7*mebibyte+1), status: 413,
			want: "the body has more than 7340032 bytes", count: "error body_too_large",
		},
		{name: "a body that breaks off", body: io.MultiReader(strings.NewReader("{"), broken{}), status: 400, want: "reading the body: unexpected EOF", count: "error malformed"},
		{name: "no body", body: http.NoBody, status: 400, want: "reading AdmissionReview: unexpected end of JSON input", count: "error malformed"},
		{name: "bad JSON", body: strings.NewReader(`{"apiVersion":`), status: 400, want: "reading AdmissionReview: unexpected end of JSON input", count: "error malformed"},
		{name: "JSON of another type", body: strings.NewReader(`[]`), status: 400, want: "reading AdmissionReview: json: cannot unmarshal array into Go value of type admission.review", count: "error malformed"},
		{name: "something after the review", body: strings.NewReader(good + "{}"), status: 400, want: "reading AdmissionReview: invalid character '{' after top-level value", count: "error malformed"},
		{
			name: "nesting without end", body: strings.NewReader(strings.Repeat("[", 20_000)), status: 400,
			want: "reading AdmissionReview: invalid character '[' exceeded max depth", count: "error malformed",
		},
		{name: "null", body: strings.NewReader("null"), status: 400, want: `apiVersion "": want "admission.k8s.io/v1"`, count: "error malformed"},
		{
			name: "another version", body: strings.NewReader(strings.Replace(good, "admission.k8s.io/v1", "admission.k8s.io/v1beta1", 1)), status: 400,
			want: `apiVersion "admission.k8s.io/v1beta1": want "admission.k8s.io/v1"`, count: "error malformed",
		},
		{
			name: "another kind", body: strings.NewReader(strings.Replace(good, "AdmissionReview", "ConversionReview", 1)), status: 400,
			want: `kind "ConversionReview": want "AdmissionReview"`, count: "error malformed",
		},
		{name: "no request", body: strings.NewReader(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`), status: 400, want: "request.uid is missing", count: "error malformed"},
		{name: "a null request", body: strings.NewReader(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":null}`), status: 400, want: "request.uid is missing", count: "error malformed"},
		{name: "no UID", body: strings.NewReader(review(t, pod("app", ""), map[string]any{"uid": nil})), status: 400, want: "request.uid is missing", count: "error malformed"},
		{name: "no pod", body: strings.NewReader(review(t, "{}", map[string]any{"object": nil})), status: 400, want: "request.object: reading pod: byte 0: want an object", count: "error malformed"},
		{name: "a pod that is none", body: strings.NewReader(review(t, `{"metadata":[]}`, nil)), status: 400, want: "request.object: reading pod: byte 12: want an object", count: "error malformed"},
		{
			name: "an outage of the API server", body: strings.NewReader(review(t, pod("app", ""), map[string]any{"namespace": "outage"})), status: 500,
			want: "the ServiceAccount could not be looked up; the webhook's log says why", count: "error lookup",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWebhook(t)
			method, path := "POST", admission.Path
			if test.method != "" {
				method = test.method
			}
			if test.path != "" {
				path = test.path
			}
			r := httptest.NewRequestWithContext(t.Context(), method, "https://webhook.example"+path, test.body)
			switch test.media {
			case "":
				r.Header.Set("Content-Type", "application/json")
			case "-":
			default:
				r.Header.Set("Content-Type", test.media)
			}
			answer := w.send(r)
			got := answer.Body.String()
			if answer.Code != test.status {
				t.Errorf("status %d, want %d: %s", answer.Code, test.status, got)
			}
			if test.status != http.StatusOK && got != test.want+"\n" {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if allow := answer.Header().Get("Allow"); (test.status == 405) != (allow == "POST") {
				t.Errorf("Allow: %q", allow)
			}
			want := make(map[string]float64)
			if test.count != "" {
				want[test.count] = 1
			}
			if diff := cmp.Diff(want, w.counts(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// spaces is a body without end.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestOutageIsToldToOperatorsOnly: the cause has addresses of the cluster.
func TestOutageIsToldToOperatorsOnly(t *testing.T) {
	w := newWebhook(t)
	if got := w.post(t, review(t, pod("app", ""), map[string]any{"namespace": "outage"})).Body.String(); strings.Contains(got, "CANARY") {
		t.Errorf("the answer has the cause: %s", got)
	}
	want := `level=WARN msg="answered review" namespace=outage pod=app- service_account=app decision=error reason=lookup ` +
		`err="looking up ServiceAccount \"app\" in namespace \"outage\": CANARY: dial tcp 10.0.0.1:443: connection refused"` + "\n"
	if diff := cmp.Diff(want, w.log.String()); diff != "" {
		t.Error(diff)
	}
}

// TestNothingStaysFromTheReviewBefore: memory is used again.
func TestNothingStaysFromTheReviewBefore(t *testing.T) {
	w := newWebhook(t)
	full := review(t, pod("app", ""), map[string]any{"name": "app-0", "subResource": ""})
	for range 20 {
		if answer := w.post(t, full); answer.Code != http.StatusOK {
			t.Fatalf("status %d: %s", answer.Code, answer.Body)
		}
		for _, body := range []string{
			`{}`,
			`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`,
			`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","resource":{"resource":"pods"},"operation":"CREATE"}}`,
		} {
			if answer := w.post(t, body); answer.Code != http.StatusBadRequest {
				t.Fatalf("%s is answered with status %d: %s", body, answer.Code, answer.Body)
			}
		}
	}
}

// TestLongWarnings: the API server would cut them at the same place, or drop
// what follows.
func TestLongWarnings(t *testing.T) {
	var containers strings.Builder
	for i := range 40 {
		fmt.Fprintf(&containers, `{"name":"%s%d","image":"a"},`, strings.Repeat("é", 20), i)
	}
	w := newWebhook(t)
	body := strings.Replace(pod("default", ""), `"containers":[`, `"containers":[`+containers.String(), 1)
	var answer struct{ Response struct{ Warnings []string } }
	if err := json.Unmarshal(w.post(t, review(t, body, nil)).Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	longest := 0
	for _, warning := range answer.Response.Warnings {
		longest = max(longest, utf8.RuneCountInString(warning))
		if strings.ContainsRune(warning, utf8.RuneError) {
			t.Errorf("cut within a character: %q", warning)
		}
	}
	if longest != 256 {
		t.Errorf("the longest warning has %d characters, want it cut to 256: %q", longest, answer.Response.Warnings)
	}
}

// TestMetricHasOnlyNamespacesThatExist: anybody who reaches the port could make
// up others, each a series for ever.
func TestMetricHasOnlyNamespacesThatExist(t *testing.T) {
	w := newWebhook(t)
	w.post(t, review(t, pod("app", ""), nil))
	w.post(t, review(t, pod("app", annotated(mutate.AnnotationTokenExpiration, "1")), nil))
	for i := range 10 {
		w.post(t, review(t, pod("app", ""), map[string]any{"namespace": fmt.Sprint("made-up-", i)}))
	}
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]uint64)
	for _, family := range families {
		if family.GetName() != "azwi_mutation_request" {
			continue
		}
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, label.GetName()+"="+label.GetValue())
			}
			got[strings.Join(labels, ",")] = metric.GetHistogram().GetSampleCount()
			if n := len(metric.GetHistogram().GetBucket()); n != 32 {
				t.Errorf("%d buckets, want azure-workload-identity's 32", n)
			}
		}
	}
	if diff := cmp.Diff(map[string]uint64{"namespace=shop,service_name=webhook": 2, "namespace=,service_name=webhook": 10}, got); diff != "" {
		t.Error(diff)
	}
	problems, err := testutil.GatherAndLint(w.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		if problem.Metric != "azwi_mutation_request" { // the name is not ours
			t.Error(problem)
		}
	}
}

// TestNoObjectInLogs: all pods here carry a password.
func TestNoObjectInLogs(t *testing.T) {
	w := newWebhook(t)
	for _, body := range []string{
		review(t, pod("app", ""), nil),
		review(t, pod("gone", ""), nil),
		review(t, pod("app", annotated(mutate.AnnotationTokenExpiration, "1")), nil),
		review(t, pod("app", ""), map[string]any{"operation": "UPDATE"}),
		review(t, strings.Replace(pod("app", ""), `"app"`, `[]`, 1), nil),
		review(t, pod("app", ""), nil)[1:],
		strings.Replace(review(t, pod("app", ""), nil), `"CREATE"`, `1`, 1),
	} {
		w.post(t, body)
	}
	if n := strings.Count(w.log.String(), "\n"); n != 7 {
		t.Errorf("%d lines, want 7: %s", n, w.log.String())
	}
	if strings.Contains(w.log.String(), "CANARY") {
		t.Error(w.log.String())
	}
}

// TestCallersContext: a lookup ends when the API server hangs up.
func TestCallersContext(t *testing.T) {
	m, err := mutate.New(mutate.Options{TenantID: tenantID})
	if err != nil {
		t.Fatal(err)
	}
	handler := admission.NewHandler(admission.Config{Mutator: m, Identities: waiting{}, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, admission.Path, strings.NewReader(review(t, pod("app", ""), nil)))
	r.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, r)
	if recorder.Code != http.StatusInternalServerError {
		t.Errorf("status %d", recorder.Code)
	}
}

type waiting struct{}

func (waiting) Identity(ctx context.Context, _, _ string) (mutate.Identity, error) {
	<-ctx.Done()
	return mutate.Identity{}, ctx.Err()
}

// FuzzHandler: whatever is sent, the answer is one of four, and a review is
// answered under its own UID.
func FuzzHandler(f *testing.F) {
	f.Add(review(f, pod("app", ""), nil))
	f.Add(review(f, pod("gone", ""), map[string]any{"uid": "\x00\"\\"}))
	f.Add(review(f, pod("app", ""), map[string]any{"uid": "\x01"}))
	f.Add(review(f, pod("app", ""), map[string]any{"uid": "\u00e9"}))
	f.Add(review(f, pod("app", annotated(mutate.AnnotationTokenExpiration, "x")), map[string]any{"operation": "UPDATE"}))
	f.Add(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1"}}`)
	w := newWebhook(f)
	f.Fuzz(func(t *testing.T, body string) {
		w.log.Reset()
		answer := w.post(t, body)
		got := answer.Body.String()
		switch answer.Code {
		case http.StatusBadRequest, http.StatusInternalServerError:
			return
		case http.StatusOK:
		default:
			t.Fatalf("status %d: %s", answer.Code, got)
		}
		var asked struct{ Request struct{ UID string } }
		var answered struct {
			APIVersion, Kind string
			Response         struct {
				UID     string
				Allowed *bool
				Patch   []byte
			}
		}
		if err := json.Unmarshal([]byte(body), &asked); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(got), &answered); err != nil {
			t.Fatalf("%v in %s", err, got)
		}
		if answered.Response.UID != asked.Request.UID || answered.Response.Allowed == nil {
			t.Errorf("asked %q, answered %s", asked.Request.UID, got)
		}
		if answered.Response.Patch != nil && !json.Valid(answered.Response.Patch) {
			t.Errorf("patch %s", answered.Response.Patch)
		}
	})
}
