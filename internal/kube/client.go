package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
)

// Timeout bounds one request of a client, from dialing to the last byte of the
// answer.
const Timeout = 10 * time.Second

// Client makes requests of one API server. It has a name here, so that commands
// can hand one on.
type Client = rest.Interface

// NewClient returns a client that knows the kinds which this project asks for.
// It takes absolute paths, follows no redirects, and its requests end after
// [Timeout]: it is not for watches. It is safe for concurrent use.
//
// client-go's clientset would register all kinds of Kubernetes, which costs each
// process 10 MB of binary and about as much memory.
func NewClient(settings *rest.Config) (Client, error) {
	transport, err := rest.TransportFor(settings)
	if err != nil {
		return nil, err
	}
	return NewClientOver(transport, settings)
}

// NewClientOver is NewClient over a transport that is there already.
func NewClientOver(transport http.RoundTripper, settings *rest.Config) (Client, error) {
	kinds := runtime.NewScheme()
	kinds.AddKnownTypes(admissionregistrationv1.SchemeGroupVersion, &admissionregistrationv1.MutatingWebhookConfiguration{})
	kinds.AddKnownTypes(authenticationv1.SchemeGroupVersion, &authenticationv1.TokenRequest{}, &authenticationv1.SelfSubjectReview{})
	kinds.AddKnownTypes(coordinationv1.SchemeGroupVersion, &coordinationv1.Lease{})
	kinds.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.ConfigMap{}, &corev1.Secret{})
	kinds.AddKnownTypes(discoveryv1.SchemeGroupVersion, &discoveryv1.EndpointSlice{})
	kinds.AddKnownTypes(eventsv1.SchemeGroupVersion, &eventsv1.Event{})
	metav1.AddToGroupVersion(kinds, schema.GroupVersion{Version: "v1"}) // Status, for errors
	settings = rest.CopyConfig(settings)
	// No limit here: client-go's 5 requests a second would make a round at a
	// ConfigMap last for seconds. The API server has limits of its own.
	settings.QPS = -1
	settings.NegotiatedSerializer = serializer.NewCodecFactory(kinds).WithoutConversion()
	return rest.UnversionedRESTClientForConfigAndClient(settings, &http.Client{
		Transport: transport, Timeout: Timeout, CheckRedirect: NoRedirect,
	})
}

// NoRedirect is for http.Client: the API server redirects no request of ours,
// and credentials stay where they were meant to go.
func NoRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Do sends the request once and decodes the object that is answered. client-go
// would try up to ten times, with as long a wait as the server asks for; that is
// for the caller to decide.
//
// The error is as [WithoutBody] makes it. An answer that no API server gives,
// and which would pass for an empty object, is an error too.
func Do(ctx context.Context, request *rest.Request, answer Object) error {
	if err := request.MaxRetries(0).Do(ctx).Into(answer); err != nil {
		return WithoutBody(err)
	}
	if answer.GetResourceVersion() == "" {
		return errors.New("the answer is not from a Kubernetes API server: it has no resourceVersion")
	}
	return nil
}

// Object is what API servers keep.
type Object interface {
	runtime.Object
	metav1.Object
}

// ForeignAnswerError is an answer that is not an API server's, but that of
// something in front of it.
type ForeignAnswerError struct {
	// Code is the HTTP status.
	Code int
	// RetryAfter is how long the answer asks to be left alone; 0: it does not.
	RetryAfter time.Duration
}

// Error implements error. The text has nothing of the answer's body.
func (e *ForeignAnswerError) Error() string {
	return fmt.Sprintf("answered %d %s, without a Status of Kubernetes", e.Code, http.StatusText(e.Code))
}

// WithoutBody returns err, or a *[ForeignAnswerError] in place of an error in
// which client-go quotes the body of such an answer.
func WithoutBody(err error) error {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if ok && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) {
		seconds, _ := apierrors.SuggestsClientDelay(err)
		return &ForeignAnswerError{Code: int(status.ErrStatus.Code), RetryAfter: time.Duration(seconds) * time.Second}
	}
	return err
}

// RetryAfter returns how long whoever answered asks to be left alone; 0: it does
// not.
func RetryAfter(err error) time.Duration {
	if foreign, ok := errors.AsType[*ForeignAnswerError](err); ok {
		return foreign.RetryAfter
	}
	seconds, _ := apierrors.SuggestsClientDelay(err)
	return time.Duration(seconds) * time.Second
}
