// Package accounts knows the identities of the cluster's ServiceAccounts. It
// keeps those that have one in memory, small, and current by a watch; about
// all others it asks the API server: they may be new, or annotated a moment
// ago. It keeps no object whole and writes nothing.
package accounts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/issuer-sync/issuer-sync/internal/admission"
	"github.com/issuer-sync/issuer-sync/pkg/mutate"
)

// MaxWait bounds Config.Wait. An answer takes this long and askTimeout at most,
// and the webhook's server ends answers after 10 s.
const MaxWait = 5 * time.Second

// askTimeout bounds the questions that one lookup puts to the API server, the
// time in which they wait for each other included. The API server gives a
// webhook 10 s by default, and ours 5 s.
const askTimeout = 3 * time.Second

// reportInterval is the time between two looks at whether the watch works.
const reportInterval = 5 * time.Second

// maxAsking is how many questions the API server is asked at a time.
const maxAsking = 64

// Config says which cluster, and how to ask it.
type Config struct {
	// Cluster is how to reach the API server. Required. Its limits of requests
	// (QPS, Burst) and its serialization are not used.
	Cluster *rest.Config
	// Wait is how long Identity waits for a ServiceAccount that is not there: at
	// most MaxWait. 0 means that it does not wait.
	Wait time.Duration
	// Log receives what the watch has to tell. Required.
	Log *slog.Logger
}

// Cache implements [admission.Identities]. It is safe for concurrent use.
type Cache struct {
	log    *slog.Logger
	wait   time.Duration
	client rest.Interface
	asking chan struct{} // holds a value for each question under way
	store  *store
	line   line
}

// New makes a cache; it asks nobody yet. The error says what is wrong with the
// configuration.
func New(config Config) (*Cache, error) {
	if config.Wait < 0 || config.Wait > MaxWait {
		return nil, fmt.Errorf("waiting for ServiceAccounts %s: want from 0 to %s", config.Wait, MaxWait)
	}
	client, err := newClient(config.Cluster)
	if err != nil {
		return nil, fmt.Errorf("making a client for ServiceAccounts: %w", err)
	}
	return &Cache{
		log: config.Log, wait: config.Wait, client: client,
		asking: make(chan struct{}, maxAsking), store: newStore(),
	}, nil
}

// Run keeps the cache current until ctx ends, and then returns nil. Whatever
// the API server does, it tries on. It is to be called once.
func (c *Cache) Run(ctx context.Context) error {
	started := time.Now()
	ctx = klog.NewContext(ctx, logr.FromSlogHandler(c.log.Handler()))
	reflector := cache.NewReflectorWithOptions(c.listWatch(ctx), &metav1.PartialObjectMetadata{}, c.store, cache.ReflectorOptions{Name: "serviceaccounts"})
	reflector.WatchListPageSize = pageSize
	done := make(chan struct{})
	go func() {
		defer close(done)
		reflector.RunWithContext(ctx)
	}()
	look := time.NewTicker(reportInterval)
	defer look.Stop()
	for synced := c.store.synced; ; {
		select {
		case <-synced:
			synced = nil // once
			// Reading them all left more garbage than what is kept, which would stay
			// resident until the next collection: on a quiet cluster, for minutes.
			debug.FreeOSMemory()
			c.log.Info("cached service accounts", "with_identity", c.Len(), "took", time.Since(started).Round(time.Millisecond))
		case <-look.C:
			c.line.report(c.log)
		case <-done:
			return nil
		}
	}
}

// Len returns how many ServiceAccounts with an identity are in memory.
func (c *Cache) Len() int { return c.store.len() }

// Stale returns for how long the watch has not worked, so that what is in memory
// may be out of date; 0 while it does.
func (c *Cache) Stale() time.Duration { return c.line.staleFor() }

// Ready returns nil once the cache has seen all ServiceAccounts. Before that,
// Identity answers too, but asks the API server about each. The error says what
// is in the way.
func (c *Cache) Ready() error {
	select {
	case <-c.store.synced:
		return nil
	default:
	}
	if trouble := c.line.trouble(); trouble != nil {
		return fmt.Errorf("the ServiceAccounts are not read yet: %w", trouble)
	}
	return errors.New("the ServiceAccounts are not read yet")
}

// Identity implements [admission.Identities]. The identity has those
// annotations that [mutate.ServiceAccountAnnotations] names, and no labels.
func (c *Cache) Identity(ctx context.Context, namespace, name string) (mutate.Identity, error) {
	key := cache.NewObjectName(namespace, name).String()
	if annotations, ok := c.store.annotations(key); ok {
		return identity(namespace, name, annotations), nil
	}
	// No such name exists, and none of them makes a path to ask at.
	if !isPathSegment(namespace) || !isPathSegment(name) {
		return mutate.Identity{}, fmt.Errorf("ServiceAccount %q: %w", key, admission.ErrNoServiceAccount)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout+c.wait)
	defer cancel()
	if c.wait == 0 {
		return c.ask(ctx, namespace, name)
	}
	// Before asking, or what happens in between would be missed.
	appeared, forget := c.store.await(key)
	defer forget()
	found, err := c.ask(ctx, namespace, name)
	if !errors.Is(err, admission.ErrNoServiceAccount) {
		return found, err
	}
	select {
	case <-appeared:
	case <-time.After(c.wait): // asked once more: the watch may be down
	case <-ctx.Done():
	}
	return c.ask(ctx, namespace, name)
}

// ask reads the ServiceAccount from the API server as it is now.
func (c *Cache) ask(ctx context.Context, namespace, name string) (mutate.Identity, error) {
	select {
	case c.asking <- struct{}{}:
		defer func() { <-c.asking }()
	case <-ctx.Done():
		return mutate.Identity{}, fmt.Errorf("waiting for %d other questions to the API server: %w", maxAsking, ctx.Err())
	}
	found, err := c.get(ctx, namespace, name)
	if err != nil {
		return mutate.Identity{}, err
	}
	return identity(namespace, name, kept(found.Annotations)), nil
}

func identity(namespace, name string, annotations []annotation) mutate.Identity {
	i := mutate.Identity{Namespace: namespace, Name: name, Annotations: make(map[string]string, len(annotations))}
	for _, a := range annotations {
		i.Annotations[a.name] = a.value
	}
	return i
}
