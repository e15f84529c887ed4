package admission

import (
	"bytes"
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
	SubResource string `json:"subResource"`
	Operation   string `json:"operation"`
	Namespace   string `json:"namespace"`
	Name        string `json:"name"`
	Object      part   `json:"object"`
}

// part is a part of the JSON that it was read from. Unlike json.RawMessage it
// copies nothing: json.Unmarshal hands over a slice of its input, which here is
// the body, and is not changed while the review is in use.
type part []byte

// UnmarshalJSON implements json.Unmarshaler.
func (p *part) UnmarshalJSON(data []byte) error {
	*p = data
	return nil
}

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
func (x *exchange) read(w http.ResponseWriter, r *http.Request, memory pool) error {
	if r.Method != http.MethodPost {
		return &fault{http.StatusMethodNotAllowed, "method", fmt.Errorf("method %q: want POST", r.Method)}
	}
	header := r.Header.Get("Content-Type")
	if header != "application/json" { // as API servers spell it; others are parsed
		if media, _, err := mime.ParseMediaType(header); err != nil || media != "application/json" {
			return &fault{http.StatusUnsupportedMediaType, "media_type", fmt.Errorf("Content-Type %q: want application/json", header)}
		}
	}
	if err := x.readBody(w, r, memory); err != nil {
		return err
	}
	if err := json.Unmarshal(x.body, &x.review); err != nil {
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

// readBody reads what is said to be the length, into memory of that size.
func (x *exchange) readBody(w http.ResponseWriter, r *http.Request, memory pool) error {
	length := r.ContentLength
	if length < 0 || length > maxBody {
		length = maxBody
	}
	if err := x.take(r.Context(), memory, length); err != nil {
		return err
	}
	size := int(length) + bytes.MinRead // which ReadFrom wants to be free
	if cap(x.body) < size {
		x.body = make([]byte, 0, size)
	}
	buffer := bytes.NewBuffer(x.body[:0])
	_, err := buffer.ReadFrom(http.MaxBytesReader(w, r.Body, maxBody))
	x.body = buffer.Bytes()
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return &fault{http.StatusRequestEntityTooLarge, "body_too_large", fmt.Errorf("the body has more than %d bytes", maxBody)}
	}
	if err != nil {
		return malformed(fmt.Errorf("reading the body: %w", err))
	}
	return nil
}

func malformed(err error) *fault { return &fault{http.StatusBadRequest, "malformed", err} }
