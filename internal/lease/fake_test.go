package lease_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	collection = "/apis/coordination.k8s.io/v1/namespaces/team/leases"
	item       = collection + "/writer"
)

// fake is the Lease API of one namespace with one Lease in it.
type fake struct {
	t *testing.T

	mu       sync.Mutex            // guards what follows
	lease    *coordinationv1.Lease // nil: none
	version  int
	requests int
	denied   string // the HTTP method that nobody may use
}

func (f *fake) RoundTrip(req *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests++
	leases := schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}
	var sent coordinationv1.Lease
	if req.Body != nil {
		if err := json.NewDecoder(req.Body).Decode(&sent); err != nil {
			f.t.Errorf("body of %s: %v", req.Method, err)
		}
	}
	switch route := req.Method + " " + req.URL.Path; {
	case req.Method == f.denied:
		return refusal(apierrors.NewForbidden(leases, "writer", errors.New("no"))), nil
	case route == "POST "+collection && f.lease != nil:
		return refusal(apierrors.NewAlreadyExists(leases, "writer")), nil
	case route == "GET "+item && f.lease == nil, route == "PUT "+item && f.lease == nil:
		return refusal(apierrors.NewNotFound(leases, "writer")), nil
	case route == "PUT "+item && sent.ResourceVersion != f.lease.ResourceVersion:
		return refusal(apierrors.NewConflict(leases, "writer", errors.New("changed"))), nil
	case route == "POST "+collection, route == "PUT "+item:
		f.store(&sent)
	case route != "GET "+item:
		f.t.Errorf("request %s", route)
	}
	return answer(http.StatusOK, f.lease), nil
}

func (f *fake) store(lease *coordinationv1.Lease) {
	f.version++
	f.lease = lease
	if lease != nil {
		lease.Kind, lease.APIVersion = "Lease", "coordination.k8s.io/v1"
		lease.ResourceVersion = strconv.Itoa(f.version)
	}
}

// edit changes the Lease as somebody else would.
func (f *fake) edit(change func(*coordinationv1.Lease) *coordinationv1.Lease) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.store(change(f.lease.DeepCopy()))
}

// deny forbids one method, or with "" none.
func (f *fake) deny(method string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.denied = method
}

// stored is the Lease.
func (f *fake) stored() *coordinationv1.Lease {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lease == nil {
		f.t.Fatal("there is no Lease")
	}
	return f.lease.DeepCopy()
}

// spec is what the Lease says.
func (f *fake) spec() coordinationv1.LeaseSpec { return f.stored().Spec }

// asked is the number of requests so far.
func (f *fake) asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests
}

func answer(code int, body any) *http.Response {
	text, ok := body.(string)
	kind := "text/html"
	if !ok {
		encoded, err := json.Marshal(body)
		if err != nil {
			panic(err)
		}
		text, kind = string(encoded), "application/json"
	}
	header := http.Header{"Content-Type": {kind}}
	if code == http.StatusTooManyRequests {
		header.Set("Retry-After", "1")
	}
	return &http.Response{StatusCode: code, Header: header, Body: io.NopCloser(bytes.NewBufferString(text))}
}

func refusal(err *apierrors.StatusError) *http.Response {
	return answer(int(err.Status().Code), refusalBody(err))
}

func refusalBody(err *apierrors.StatusError) metav1.Status {
	status := err.Status()
	status.Kind, status.APIVersion = "Status", "v1"
	return status
}
