// Package admission answers the API server's question what to add to a new pod:
// reviews come in over HTTP (admission.k8s.io/v1, AdmissionReview), pkg/mutate
// decides, the decision goes back.
//
// Of a review, only what the decision needs is decoded, and the pod by
// pkg/mutate alone. Who may ask is not checked: an answer tells nothing but
// what the identity of a ServiceAccount is, which is no secret.
package admission

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/mutate"
)

// Path is where reviews are sent to; azure-workload-identity named it.
const Path = "/mutate-v1-pod"

// ErrNoServiceAccount is returned by [Identities] for a ServiceAccount that the
// cluster does not have.
var ErrNoServiceAccount = errors.New("no such ServiceAccount")

// Identities looks ServiceAccounts up.
type Identities interface {
	// Identity returns what the ServiceAccount says. The error matches
	// [ErrNoServiceAccount] if there is none; any other means that it is not
	// known whether there is. It returns within a few seconds, sooner if ctx
	// ends, and is safe for concurrent use.
	Identity(ctx context.Context, namespace, name string) (mutate.Identity, error)
}

// Config is what a Handler works with. All fields are required but Metrics.
type Config struct {
	Mutator    *mutate.Mutator
	Identities Identities
	// Metrics may be nil: nothing is recorded then.
	Metrics *Metrics
	// Log receives each decision: at Info what was done to a pod that asked for
	// an identity, at Warn what could not be decided, at Debug all else; and at
	// Error where this package panicked.
	Log *slog.Logger
}

// Handler serves [Path], exactly, and nothing else. It is safe for concurrent
// use.
type Handler struct {
	config          Config    // immutable
	exchanges       sync.Pool // of *exchange
	bodies, patches pool
}

// NewHandler makes a handler.
func NewHandler(config Config) *Handler {
	return &Handler{
		config:    config,
		exchanges: sync.Pool{New: func() any { return new(exchange) }},
		bodies:    newPool(smallBodies, largeBodies),
		patches:   newPool(smallPatches, largePatches),
	}
}

// exchange is the memory for one review and its answer.
type exchange struct {
	body   []byte
	review review // refers to body
	answer []byte
	held   []hold
}

// maxKept is how large an exchange may be to be used again: pods have some
// kilobytes, and a large one should not stay in memory for good.
const maxKept = 64 << 10

func (h *Handler) release(x *exchange) {
	x.giveBack()
	if cap(x.body) > maxKept || cap(x.answer) > maxKept {
		return
	}
	x.review = review{}
	h.exchanges.Put(x)
}

// subject is whom a decision is about, as far as that is known.
type subject struct {
	namespace, pod, account string
	// found says that the ServiceAccount exists, and with it the namespace.
	found bool
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != Path {
		http.NotFound(w, r)
		return
	}
	started := time.Now()
	x := h.exchanges.Get().(*exchange)
	defer h.release(x)
	var about subject
	result, err := h.tryDeciding(w, r, x, &about)
	v := judge(result, err)
	x.write(w, v, result)
	h.config.Metrics.record(v, about, time.Since(started))
	h.report(r.Context(), v, about, err)
}

// tryDeciding makes an error of a panic: net/http would end the connection, on
// which other reviews are, and hardly anybody would hear of it.
func (h *Handler) tryDeciding(w http.ResponseWriter, r *http.Request, x *exchange, about *subject) (result mutate.Result, err error) {
	defer func() {
		if value := recover(); value != nil {
			// What was thrown may hold a part of the pod.
			h.config.Log.Error("panicked", "type", fmt.Sprintf("%T", value), "stack", string(debug.Stack()))
			err = &fault{http.StatusInternalServerError, "panic", errors.New("internal error; the webhook's log says where")}
		}
	}()
	return h.decide(w, r, x, about)
}

func (h *Handler) decide(w http.ResponseWriter, r *http.Request, x *exchange, about *subject) (mutate.Result, error) {
	if err := x.read(w, r, h.bodies); err != nil {
		return mutate.Result{}, err
	}
	request := &x.review.Request
	about.namespace, about.pod = request.Namespace, request.Name
	if !request.createsPod() {
		return mutate.Result{Outcome: otherRequest}, nil
	}
	pod, err := mutate.ParsePod(request.Object)
	if err != nil {
		return mutate.Result{}, fmt.Errorf("request.object: %w", err)
	}
	about.pod, about.account = cmp.Or(request.Name, pod.Name, pod.GenerateName), pod.ServiceAccount
	if !pod.Labelled() {
		return mutate.Result{Outcome: mutate.NotLabelled}, nil
	}
	identity, err := h.config.Identities.Identity(r.Context(), request.Namespace, pod.ServiceAccount)
	if err != nil {
		// What is left alone whoever its ServiceAccount is needs none.
		if result, refusal := h.config.Mutator.Patch(pod, mutate.Identity{}); refusal == nil && result.Outcome == mutate.MirrorPod {
			return result, nil
		}
		return mutate.Result{}, fmt.Errorf("looking up ServiceAccount %q in namespace %q: %w", pod.ServiceAccount, request.Namespace, err)
	}
	about.found = true
	if err := x.take(r.Context(), h.patches, patchCost*int64(h.config.Mutator.PatchBound(pod))); err != nil {
		return mutate.Result{}, err
	}
	return h.config.Mutator.Patch(pod, identity)
}

// report logs the decision; it never has the pod, which may hold secrets.
func (h *Handler) report(ctx context.Context, v verdict, about subject, err error) {
	level := v.level()
	if !h.config.Log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("namespace", about.namespace), slog.String("pod", about.pod),
		slog.String("service_account", about.account), slog.String("decision", v.result), slog.String("reason", v.reason),
	}
	if err != nil {
		attrs = append(attrs, slog.Any("err", err))
	}
	h.config.Log.LogAttrs(ctx, level, "answered review", attrs...)
}
