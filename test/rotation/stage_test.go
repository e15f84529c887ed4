package rotation_test

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/issuer-sync/issuer-sync/internal/cluster"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/internal/store/azureblob"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

const (
	interval = time.Second // of the publisher's rounds
	maxAge   = time.Second
	// Both are longer than the restart of a server, so that no restart hides that
	// a key may sign, or leaves, at once. The wait is also more than the max-age,
	// as it has to be.
	minimumWait, retention = 6 * time.Second, 6 * time.Second
)

// stage is two API servers, and a publisher that keeps their issuer in Azurite
// and on a server of its own.
type stage struct {
	issuer  oidc.Issuer
	servers []*server
	store   oidc.Store
	handler *oidc.Handler // of the own server
	places  []*place
	rounds  *rounds
	// stopPublisher ends the publisher and waits for its end; once is enough.
	stopPublisher func()
}

// newStage starts everything, with the key as the servers' only one, and
// returns when the documents are public in both places.
func newStage(t *testing.T, key *rsa.PrivateKey) *stage {
	t.Helper()
	azurite := servers.StartAzurite(t)
	url := azurite.CreateContainer(t, "oidc", true)
	config := servers.ServerConfig{SigningKey: key}
	kube := servers.StartKube(t, servers.KubeConfig{Issuer: url, Servers: []servers.ServerConfig{config, config}})
	s := &stage{rounds: newRounds()}
	var err error
	if s.issuer, err = oidc.ParseIssuer(url); err != nil {
		t.Fatal(err)
	}
	for i, started := range kube.Servers() {
		s.servers = append(s.servers, newServer(t, string(rune('A'+i)), started))
	}
	if s.handler, err = oidc.NewHandler(s.issuer); err != nil {
		t.Fatal(err)
	}
	own := httptest.NewServer(s.handler)
	t.Cleanup(own.Close)
	s.places = newPlaces(t, azurite, own)
	if s.store, err = azureblob.New(azureblob.Config{
		URL: url, Credential: azureblob.CredentialSharedKey, AccountKey: azureblob.Secret(azurite.AccountKey()), HTTPClient: azurite.Client(),
	}); err != nil {
		t.Fatal(err)
	}
	s.publish(t, kube)
	return s
}

// publish runs the publisher until the test ends or stopPublisher is called.
func (s *stage) publish(t *testing.T, kube *servers.Kube) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	source, err := cluster.New(cluster.Config{
		Kubeconfig: kube.Kubeconfig(t), PerServer: true, Log: log, Dial: kube.Dial,
		ServiceAccount: types.NamespacedName{Namespace: metav1.NamespaceDefault, Name: "default"},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := publisher.New(publisher.Config{
		Issuer:   s.issuer,
		Sources:  []publisher.Source{source},
		Stores:   []publisher.Store{{Name: "azurite", Store: s.store}},
		MaxAge:   maxAge,
		Policy:   keys.Policy{MinimumWait: minimumWait, Retention: retention, Max: 10},
		Interval: interval,
		Serve:    s.handler.Set,
		Report:   s.rounds.record,
		Log:      log,
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	s.stopPublisher = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the publisher ended: %v", err)
		}
	})
	t.Cleanup(s.stopPublisher)
	for _, place := range s.places {
		await(t, "the first documents in "+place.name, func() error {
			_, err := place.read(t.Context(), s.issuer)
			return err
		})
	}
}

// server is an API server whose outages are known.
type server struct {
	*servers.APIServer
	name   string
	client kubernetes.Interface
	// outages counts how often it went down and came up: it is odd while the
	// server may be down.
	outages atomic.Int32
}

func newServer(t *testing.T, name string, started *servers.APIServer) *server {
	t.Helper()
	client, err := kubernetes.NewForConfig(started.Config())
	if err != nil {
		t.Fatal(err)
	}
	return &server{APIServer: started, name: name, client: client}
}

// restart has the server sign with the first key and accept all. Kubernetes
// takes the keys in one file or in several (--service-account-key-file), and
// the signer in another (--service-account-signing-key-file).
func (s *server) restart(t *testing.T, signing *rsa.PrivateKey, accepted ...*rsa.PrivateKey) {
	t.Helper()
	config := servers.ServerConfig{SigningKey: signing}
	for _, key := range accepted {
		config.PublicKeys = append(config.PublicKeys, key.Public())
	}
	s.outages.Add(1)
	s.Restart(t, config)
	s.outages.Add(1)
}

// rounds remembers what the publisher reported.
type rounds struct {
	mu   sync.Mutex // guards all below
	last publisher.Round
	// alarms are the kinds that there were.
	alarms map[keys.AlarmKind]bool
	// lives are the phases of each key, in order; gone is the last.
	lives map[string][]phase
}

// phase is one step in the life of a key.
type phase struct {
	keys.Phase
	// reported is when the first round of the phase was over.
	reported time.Time
}

// gone follows the phases that a key has.
const gone keys.Phase = "gone"

func newRounds() *rounds {
	return &rounds{alarms: make(map[keys.AlarmKind]bool), lives: make(map[string][]phase)}
}

// record is for publisher.Config.Report.
func (r *rounds) record(round publisher.Round) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(round.Keys) == 0 { // nothing was decided
		return
	}
	r.last = round
	for _, alarm := range round.Alarms {
		r.alarms[alarm.Kind] = true
	}
	current := make(map[string]keys.Phase)
	for id := range r.lives {
		current[id] = gone
	}
	for _, key := range round.Keys {
		current[key.ID] = key.Phase
	}
	for id, phase := range current {
		r.enter(id, phase)
	}
}

// enter notes the phase that a key is in.
func (r *rounds) enter(id string, current keys.Phase) {
	if r.phase(id) != current {
		r.lives[id] = append(r.lives[id], phase{current, time.Now()})
	}
}

// phase returns the last phase of a key, "" for an unknown one.
func (r *rounds) phase(id string) keys.Phase {
	life := r.lives[id]
	if len(life) == 0 {
		return ""
	}
	return life[len(life)-1].Phase
}

// life returns the phases of a key so far.
func (r *rounds) life(id string) []phase {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lives[id]
}

// alarmed returns the kinds of alarms that there were, sorted.
func (r *rounds) alarmed() []keys.AlarmKind {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.alarms))
}

// awaitAlarm waits until there has been an alarm of the kind.
func (r *rounds) awaitAlarm(t *testing.T, kind keys.AlarmKind) {
	t.Helper()
	await(t, fmt.Sprintf("alarm %q", kind), func() error {
		if alarmed := r.alarmed(); !slices.Contains(alarmed, kind) {
			return fmt.Errorf("there were %q", alarmed)
		}
		return nil
	})
}

// awaitPhase waits until a round reports the key in the phase.
func (r *rounds) awaitPhase(t *testing.T, id string, want keys.Phase) {
	t.Helper()
	await(t, fmt.Sprintf("key %s to be %s", id, want), func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if got := r.phase(id); got != want {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
}

// awaitNext waits for a round that begins from now on, and returns it.
func (r *rounds) awaitNext(t *testing.T) publisher.Round {
	t.Helper()
	now := time.Now()
	var last publisher.Round
	await(t, "the next round", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if last = r.last; last.Time.Before(now) {
			return errors.New("none has begun and ended yet")
		}
		return nil
	})
	return last
}

// await waits for what another process or goroutine brings about.
func await(t *testing.T, what string, try func() error) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("waiting for %s: %v", what, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
