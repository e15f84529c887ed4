package admission

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"

	"github.com/issuer-sync/issuer-sync/pkg/mutate"
)

// maxBody bounds a review. The API server takes objects of 3 MiB (its
// MaxRequestBodyBytes); a review can hold an object twice, the rest is small.
const maxBody = 7 << 20

const (
	apiVersion = "admission.k8s.io/v1"
	kind       = "AdmissionReview"
)

// otherRequest is the outcome of reviews that nobody should have sent here.
const otherRequest mutate.Outcome = "other_request"

// review is what is read of an AdmissionReview (k8s.io/api/admission/v1).
type review struct {
	APIVersion string  `json:"apiVersion"`
	Kind       string  `json:"kind"`
	Request    request `json:"request"`
}

type request struct {
	UID      string `json:"uid"`
	Resource struct {
		Group    string `json:"group"`
		Resource string `json:"resource"`
	} `json:"resource"`
	SubResource string          `json:"subResource"`
	Operation   string          `json:"operation"`
	Namespace   string          `json:"namespace"`
	Name        string          `json:"name"`
	Object      json.RawMessage `json:"object"`
}

// reset forgets the review, but for the memory of the object.
func (r *review) reset() { *r = review{Request: request{Object: r.Request.Object[:0]}} }

func (r *request) createsPod() bool {
	return r.Resource.Group == "" && r.Resource.Resource == "pods" && r.SubResource == "" && r.Operation == "CREATE"
}

// fault says why a request is no review that could be answered.
type fault struct {
	status int // of HTTP
	reason string
	err    error
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// read reads the review that the request carries. The error is a *fault.
func (x *exchange) read(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return &fault{http.StatusMethodNotAllowed, "method", fmt.Errorf("method %q: want POST", r.Method)}
	}
	header := r.Header.Get("Content-Type")
	if header != "application/json" { // as API servers spell it; others are parsed
		if media, _, err := mime.ParseMediaType(header); err != nil || media != "application/json" {
			return &fault{http.StatusUnsupportedMediaType, "media_type", fmt.Errorf("Content-Type %q: want application/json", header)}
		}
	}
	if err := x.readBody(w, r); err != nil {
		return err
	}
	if err := json.Unmarshal(x.body.Bytes(), &x.review); err != nil {
		return malformed(fmt.Errorf("reading %s: %w", kind, err))
	}
	switch review := &x.review; {
	case review.APIVersion != apiVersion:
		return malformed(fmt.Errorf("apiVersion %q: want %q", review.APIVersion, apiVersion))
	case review.Kind != kind:
		return malformed(fmt.Errorf("kind %q: want %q", review.Kind, kind))
	case review.Request.UID == "":
		return malformed(errors.New("request.uid is missing"))
	}
	return nil
}

func (x *exchange) readBody(w http.ResponseWriter, r *http.Request) error {
	x.body.Reset()
	if 0 < r.ContentLength && r.ContentLength <= maxKept {
		x.body.Grow(int(r.ContentLength) + 512) // bytes.MinRead, which ReadFrom wants to be free
	}
	_, err := x.body.ReadFrom(http.MaxBytesReader(w, r.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return &fault{http.StatusRequestEntityTooLarge, "body_too_large", fmt.Errorf("the body has more than %d bytes", maxBody)}
	}
	if err != nil {
		return malformed(fmt.Errorf("reading the body: %w", err))
	}
	return nil
}

func malformed(err error) *fault { return &fault{http.StatusBadRequest, "malformed", err} }
