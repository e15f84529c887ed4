package cluster

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

const (
	// eventTimeout bounds sending one event.
	eventTimeout = 5 * time.Second
	// eventInterval is how long an event that has not changed is not sent again.
	eventInterval = 10 * time.Minute
	// eventQueue is how many events may wait: more than all keys of an issuer can
	// cause at once.
	eventQueue = 100
	// What the API server takes of the note and of the reporting instance, in
	// bytes (Kubernetes pkg/apis/core/validation/events.go).
	maxNote, maxInstance = 1024, 128
)

// Recorder tells the cluster of events, as "kubectl get events" shows them. It
// is safe for concurrent use.
type Recorder struct {
	client rest.Interface
	about  corev1.ObjectReference
	log    *slog.Logger
	queue  chan *eventsv1.Event

	mu   sync.Mutex // guards what follows
	last *eventsv1.Event
	full bool // the last event was dropped

	forbidden bool // only Run uses it
}

// NewRecorder returns a recorder of events about an object, in the object's
// namespace, or in "default" if it has none. The client must know the kind, as
// that of [Cluster.Client] does. Nothing is sent before Run.
func NewRecorder(client rest.Interface, about corev1.ObjectReference, log *slog.Logger) *Recorder {
	return &Recorder{client: client, about: about, log: log, queue: make(chan *eventsv1.Event, eventQueue)}
}

// Event queues an event and does not wait. The reason is a word in CamelCase of
// at most 128 bytes; the note is for people, and is cut after 1024 bytes. Neither
// may hold a secret. An event that equals the one before in reason and note is
// dropped for ten minutes; one that finds the queue full is dropped too, which
// the log says once until there is room again.
func (r *Recorder) Event(reason, note string, warning bool) {
	event := r.event(reason, note, warning)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last != nil && r.last.Reason == event.Reason && r.last.Note == event.Note && event.EventTime.Sub(r.last.EventTime.Time) < eventInterval {
		return
	}
	select {
	case r.queue <- event:
		r.last, r.full = event, false
	default:
		if !r.full {
			r.log.Warn("dropped events: too many wait to be sent", "event", reason, "limit", eventQueue)
		}
		r.full = true
	}
}

// event has what the API server wants of an event (Kubernetes
// pkg/apis/core/validation/events.go).
func (r *Recorder) event(reason, note string, warning bool) *eventsv1.Event {
	kind := corev1.EventTypeNormal
	if warning {
		kind = corev1.EventTypeWarning
	}
	return &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{GenerateName: "issuer-sync-"},
		EventTime:           metav1.NowMicro(),
		ReportingController: "issuer-sync.github.io/issuer-sync",
		ReportingInstance:   cut(cmp.Or(r.about.Name, "issuer-sync"), maxInstance),
		Action:              "Publish",
		Reason:              reason,
		Regarding:           r.about,
		Note:                cut(note, maxNote),
		Type:                kind,
	}
}

// cut is text in at most length bytes of UTF-8.
func cut(text string, length int) string {
	const mark = "…"
	text = strings.ToValidUTF8(text, string(utf8.RuneError)) // as JSON would, which may lengthen it
	if len(text) <= length {
		return text
	}
	end := length - len(mark)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}

// Run sends the queued events, one after the other and each within 5 s, until
// ctx ends; then it returns nil, and what is still queued is lost. An event
// that could not be sent is not sent again, and the log tells. If the API server
// forbids events, the log says so once, with the cure.
func (r *Recorder) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-r.queue:
			r.tell(ctx, event, r.send(ctx, event))
		}
	}
}

func (r *Recorder) send(ctx context.Context, event *eventsv1.Event) error {
	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	err := r.client.Post().AbsPath("/apis/events.k8s.io/v1").Namespace(r.namespace()).
		Resource("events").Body(event).MaxRetries(0).Do(ctx).Error()
	return withoutBody(err)
}

func (r *Recorder) namespace() string { return cmp.Or(r.about.Namespace, metav1.NamespaceDefault) }

// tell logs how sending went.
func (r *Recorder) tell(ctx context.Context, event *eventsv1.Event, err error) {
	if err == nil {
		r.forbidden = false
		return
	}
	if ctx.Err() != nil {
		return // the process ends
	}
	if !isForbidden(err) {
		r.log.WarnContext(ctx, "could not send an event", "event", event.Reason, "err", err)
		return
	}
	level := slog.LevelInfo
	if r.forbidden {
		level = slog.LevelDebug
	}
	r.forbidden = true
	r.log.Log(ctx, level, "no right to send events", "event", event.Reason, "cure", fmt.Sprintf("allow it with a Role in "+
		"namespace %q that has the rule {apiGroups: [events.k8s.io], resources: [events], verbs: [create]}", r.namespace()), "err", err)
}

// OwnPod returns the pod that this process runs in, to record events about. It
// takes POD_NAME, POD_NAMESPACE and POD_UID from the environment, which a pod's
// manifest sets by the downward API. Without one of the first two there is no
// pod; without the last, "kubectl describe pod" does not show the events.
func OwnPod(lookup func(string) (string, bool)) (corev1.ObjectReference, bool) {
	name, _ := lookup("POD_NAME")
	namespace, _ := lookup("POD_NAMESPACE")
	uid, _ := lookup("POD_UID")
	if name == "" || namespace == "" {
		return corev1.ObjectReference{}, false
	}
	return corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: namespace, Name: name, UID: types.UID(uid)}, true
}
