package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/issuer-sync/issuer-sync/internal/cluster"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

const noEvents = "INFO no right to send events"

func pod() corev1.ObjectReference {
	return corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "issuer-sync", Name: "issuer-sync-0", UID: "1-2-3"}
}

// sink is an API server that takes events, without a network, so that it may
// stand in a synctest bubble.
type sink struct {
	mu     sync.Mutex
	got    []eventsv1.Event
	paths  []string
	status int  // of the answers, if it is not 0
	hang   bool // no answers
}

func (s *sink) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var event eventsv1.Event
	if err := json.Unmarshal(body, &event); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.got, s.paths = append(s.got, event), append(s.paths, r.Method+" "+r.URL.Path)
	status, hang := max(s.status, http.StatusCreated), s.hang
	s.mu.Unlock()
	if hang {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if status >= 300 {
		body = fmt.Appendf(nil, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":%d}`, status)
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}, "Retry-After": {"1"}},
		Body: io.NopCloser(strings.NewReader(string(body))), Request: r,
	}, nil
}

func (s *sink) set(status int, hang bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.hang = status, hang
}

// notes returns what was sent since the last call.
func (s *sink) notes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var notes []string
	for _, event := range s.got {
		notes = append(notes, event.Note)
	}
	s.got = nil
	return notes
}

func (s *sink) client(t *testing.T) rest.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: "https://api.test", Transport: s, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	return client.EventsV1().RESTClient()
}

// inBubble runs a test with a recorder that runs, and with a clock of its own.
func inBubble(t *testing.T, test func(t *testing.T, s *sink, r *cluster.Recorder, log *logged)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, log := new(sink), new(logged)
		r := cluster.NewRecorder(s.client(t), pod(), slog.New(log))
		start(t, r)
		test(t, s, r, log)
	})
}

// start runs the recorder until the test ends.
func start(t *testing.T, r *cluster.Recorder) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
}

func checkNotes(t *testing.T, s *sink, want ...string) {
	t.Helper()
	synctest.Wait()
	if diff := cmp.Diff(want, s.notes()); diff != "" {
		t.Error(diff)
	}
}

func TestRecorderSendsWhatKubernetesWants(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sink, r *cluster.Recorder, log *logged) {
		r.Event("KeyActive", "key A signs", false)
		r.Event("SignsTooEarly", "key B signs", true)
		synctest.Wait()
		want := eventsv1.Event{
			TypeMeta:            metav1.TypeMeta{Kind: "Event", APIVersion: "events.k8s.io/v1"},
			ObjectMeta:          metav1.ObjectMeta{GenerateName: "issuer-sync-"},
			EventTime:           metav1.NowMicro(), // no time passes in a bubble
			ReportingController: "issuer-sync.github.io/issuer-sync", ReportingInstance: "issuer-sync-0",
			Action: "Publish", Reason: "KeyActive", Regarding: pod(), Note: "key A signs", Type: "Normal",
		}
		second := want
		second.Reason, second.Note, second.Type = "SignsTooEarly", "key B signs", "Warning"
		if diff := cmp.Diff([]eventsv1.Event{want, second}, s.got); diff != "" {
			t.Error(diff)
		}
		const path = "POST /apis/events.k8s.io/v1/namespaces/issuer-sync/events"
		if diff := cmp.Diff([]string{path, path}, s.paths); diff != "" {
			t.Error(diff)
		}
		log.check(t)
	})
}

func TestRecorderRepeatsItselfAfterTenMinutes(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sink, r *cluster.Recorder, _ *logged) {
		r.Event("KeyActive", "A", false)
		time.Sleep(10*time.Minute - time.Microsecond)
		r.Event("KeyActive", "A", false)
		checkNotes(t, s, "A")
		time.Sleep(time.Microsecond)
		r.Event("KeyActive", "A", false)
		checkNotes(t, s, "A")
		r.Event("KeyActive", "B", false)
		r.Event("KeyActive", "A", false)
		r.Event("KeyRetiring", "A", false)
		r.Event("KeyRetiring", "A", false)
		checkNotes(t, s, "B", "A", "A")
	})
}

func TestRecorderDropsWhatFindsTheQueueFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sink
		var log logged
		r := cluster.NewRecorder(s.client(t), pod(), slog.New(&log))
		var want []string
		for i := range 110 {
			if note := strconv.Itoa(i); i < 100 {
				want = append(want, note)
			}
			r.Event("KeyActive", strconv.Itoa(i), false)
		}
		const dropped = "WARN dropped events: too many wait to be sent"
		log.check(t, dropped)
		start(t, r)
		checkNotes(t, &s, want...)
		r.Event("KeyActive", "109", false) // it was dropped, so it is new
		checkNotes(t, &s, "109")
		s.set(0, true)
		for i := range 110 {
			r.Event("KeyRetiring", strconv.Itoa(i), false)
		}
		log.check(t, dropped, dropped)
	})
}

func TestRecorderTellsOnceThatEventsAreForbidden(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sink, r *cluster.Recorder, log *logged) {
		for i, status := range []int{403, 403, 500, 403, 201, 403} {
			s.set(status, false)
			r.Event("KeyActive", strconv.Itoa(i), false)
			synctest.Wait()
		}
		checkNotes(t, s, "0", "1", "2", "3", "4", "5") // none twice
		log.check(t, noEvents, "DEBUG no right to send events", "WARN could not send an event", "DEBUG no right to send events", noEvents)
		const cure = `cure=allow it with a Role in namespace "issuer-sync" that has the rule {apiGroups: [events.k8s.io], resources: [events], verbs: [create]}`
		if got := log.attrs[1]; got != cure {
			t.Errorf("got  %s\nwant %s", got, cure)
		}
	})
}

func TestRecorderWaitsFiveSecondsForEach(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sink, r *cluster.Recorder, log *logged) {
		s.set(0, true)
		r.Event("KeyActive", "A", false)
		r.Event("KeyActive", "B", false)
		checkNotes(t, s, "A")
		time.Sleep(5*time.Second - time.Nanosecond)
		checkNotes(t, s)
		time.Sleep(time.Nanosecond)
		checkNotes(t, s, "B")
		log.check(t, "WARN could not send an event")
	})
}

func TestRecorderEndsWhileSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := &sink{hang: true}, new(logged)
		r := cluster.NewRecorder(s.client(t), pod(), slog.New(log))
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()
		r.Event("KeyActive", "A", false)
		synctest.Wait()
		begin := time.Now()
		cancel(errors.New("SIGTERM"))
		if err := <-ended; err != nil || time.Since(begin) != 0 {
			t.Errorf("ended after %v with error %v", time.Since(begin), err)
		}
		log.check(t)
	})
}

func TestRecorderCutsNotesBetweenCharacters(t *testing.T) {
	for name, test := range map[string]struct{ note, want string }{
		"as long as may be":       {strings.Repeat("a", 1024), strings.Repeat("a", 1024)},
		"longer":                  {strings.Repeat("a", 1025), strings.Repeat("a", 1021) + "…"},
		"long characters":         {"aa" + strings.Repeat("€", 400), "aa" + strings.Repeat("€", 339) + "…"},
		"longer as JSON":          {strings.Repeat("a", 1023) + "\xff", strings.Repeat("a", 1021) + "…"},
		"what is not UTF-8 stays": {"a\xffb", "a\uFFFDb"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sink, r *cluster.Recorder, _ *logged) {
				r.Event("KeyActive", test.note, false)
				checkNotes(t, s, test.want)
			})
		})
	}
}

func TestOwnPod(t *testing.T) {
	for _, test := range []struct {
		name        string
		environment map[string]string
		want        corev1.ObjectReference
		ok          bool
	}{
		{"in a pod", map[string]string{"POD_NAME": "issuer-sync-0", "POD_NAMESPACE": "issuer-sync", "POD_UID": "1-2-3"}, pod(), true},
		{
			"without UID",
			map[string]string{"POD_NAME": "a", "POD_NAMESPACE": "b"},
			corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "b", Name: "a"},
			true,
		},
		{"without namespace", map[string]string{"POD_NAME": "a"}, corev1.ObjectReference{}, false},
		{"with an empty name", map[string]string{"POD_NAME": "", "POD_NAMESPACE": "b"}, corev1.ObjectReference{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := cluster.OwnPod(func(name string) (string, bool) { value, ok := test.environment[name]; return value, ok })
			if diff := cmp.Diff(test.want, got); diff != "" || ok != test.ok {
				t.Errorf("ok is %v, want %v\n%s", ok, test.ok, diff)
			}
		})
	}
}

// testEvents is about events that a real API server takes and shows, whatever
// the lengths.
func testEvents(t *testing.T, kube *servers.Kube, _ string) {
	var log logged
	c := newCluster(t, cluster.Config{Kubeconfig: kube.Kubeconfig(t), Dial: kube.Dial}, &log)
	long := corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "default", Name: strings.Repeat("a-", 126) + "b", UID: "1-2-3"}
	r := cluster.NewRecorder(c.Client(), long, slog.New(&log))
	start(t, r)
	r.Event("KeyActive", "key A signs", false)
	r.Event("KeyActive", "key A signs", false)
	r.Event(strings.Repeat("R", 128), strings.Repeat("€", 400), true)
	// As "kubectl get events" and "kubectl describe pod" ask.
	list := func() []corev1.Event {
		events, err := kube.Client().CoreV1().Events("default").List(t.Context(), metav1.ListOptions{
			FieldSelector: "involvedObject.name=" + long.Name + ",involvedObject.uid=1-2-3",
		})
		if err != nil {
			t.Fatal(err)
		}
		return events.Items
	}
	var got []corev1.Event
	await(t, func() bool { got = list(); return len(got) == 2 })
	log.check(t)
	notes := make(map[string]string)
	for _, event := range got {
		notes[event.Type+" "+event.Reason] = event.Message
		if event.EventTime.IsZero() || !utf8.ValidString(event.Message) {
			t.Errorf("got %+v", event)
		}
	}
	want := map[string]string{"Normal KeyActive": "key A signs", "Warning " + strings.Repeat("R", 128): strings.Repeat("€", 340) + "…"}
	if diff := cmp.Diff(want, notes); diff != "" || len(got) != len(want) {
		t.Errorf("got %d events\n%s", len(got), diff)
	}
}

// testForbiddenEvents is about an account that lacks the right, and then has
// what the log names.
func testForbiddenEvents(t *testing.T, kube *servers.Kube, _ string) {
	var log logged
	c := newCluster(t, cluster.Config{Kubeconfig: kube.ServiceAccountKubeconfig(t, "events", "publisher"), Dial: kube.Dial}, nil)
	about := corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "events", Name: "a"}
	r := cluster.NewRecorder(c.Client(), about, slog.New(&log))
	start(t, r)
	r.Event("KeyActive", "1", false)
	r.Event("KeyActive", "2", false)
	await(t, func() bool { return log.count() == 2 })
	log.check(t, noEvents, "DEBUG no right to send events")
	grant(t, kube, metav1.ObjectMeta{Namespace: "events", Name: "events"}, rbacv1.PolicyRule{
		APIGroups: []string{"events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create"},
	})
	var got []eventsv1.Event
	for tries := 3; len(got) == 0 && tries < 100; tries++ { // the authorizer learns of the role a little later
		r.Event("KeyActive", strconv.Itoa(tries), false)
		await(t, func() bool {
			events, err := kube.Client().EventsV1().Events("events").List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			got = events.Items
			return len(got) > 0 || log.count() == tries // or this one was refused, too
		})
	}
	if len(got) != 1 {
		t.Errorf("got %d events, want 1", len(got))
	}
}
