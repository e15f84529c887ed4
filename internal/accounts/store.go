package accounts

import (
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"github.com/issuer-sync/issuer-sync/pkg/mutate"
)

// annotation is one of mutate.ServiceAccountAnnotations. A map of them would
// take eight times the memory.
type annotation struct {
	name  string // a constant
	value string
}

// kept returns what is kept of a ServiceAccount's annotations.
func kept(all map[string]string) []annotation {
	var kept []annotation
	for _, name := range mutate.ServiceAccountAnnotations() {
		if value, ok := all[name]; ok {
			kept = append(kept, annotation{name, value})
		}
	}
	return kept
}

// account is what is kept of a ServiceAccount. It is a runtime.Object, as the
// reflector wants lists to be made of.
type account struct {
	key         string       // as of cache.MetaNamespaceKeyFunc
	annotations []annotation // nil unless one of them is a client ID
}

// newAccount reads the metadata. What has no client ID is asked about each
// time, so nothing is kept of it.
func newAccount(o *metav1.PartialObjectMetadata) *account {
	a := &account{key: cache.MetaObjectToName(o).String()}
	if o.Annotations[mutate.AnnotationClientID] != "" {
		a.annotations = kept(o.Annotations)
	}
	return a
}

// GetObjectKind implements runtime.Object.
func (*account) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject implements runtime.Object; an account does not change.
func (a *account) DeepCopyObject() runtime.Object { return a }

// store holds the accounts that have a client ID. The reflector writes it
// (cache.TransformingStore), everyone reads.
type store struct {
	synced chan struct{} // closed by the first Replace
	once   sync.Once

	mu      sync.RWMutex // guards what follows
	known   map[string][]annotation
	waiting map[string]map[chan<- struct{}]struct{} // by key, whom to tell that it is there
}

func newStore() *store {
	return &store{
		synced: make(chan struct{}), known: make(map[string][]annotation),
		waiting: make(map[string]map[chan<- struct{}]struct{}),
	}
}

func (s *store) annotations(key string) ([]annotation, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	annotations, ok := s.known[key]
	return annotations, ok
}

func (s *store) len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.known)
}

// await returns a channel that is told when the account is seen, with client
// ID or without. forget must be called.
func (s *store) await(key string) (appeared <-chan struct{}, forget func()) {
	told := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting[key] == nil {
		s.waiting[key] = make(map[chan<- struct{}]struct{})
	}
	s.waiting[key][told] = struct{}{}
	return told, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if delete(s.waiting[key], told); len(s.waiting[key]) == 0 {
			delete(s.waiting, key)
		}
	}
}

// Transformer implements cache.TransformingStore: the reflector holds accounts,
// not objects, while they are streamed. Objects come from the watch, accounts
// from list.
func (*store) Transformer() cache.TransformFunc {
	return func(object any) (any, error) { return toAccount(object) }
}

func toAccount(object any) (*account, error) {
	switch o := object.(type) {
	case *account:
		return o, nil
	case *metav1.PartialObjectMetadata:
		return newAccount(o), nil
	}
	return nil, fmt.Errorf("type %T: want metadata", object)
}

// Add implements cache.ReflectorStore.
func (s *store) Add(object any) error { return s.Update(object) }

// Update implements cache.ReflectorStore.
func (s *store) Update(object any) error {
	a, err := toAccount(object)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.annotations == nil {
		delete(s.known, a.key)
	} else {
		s.known[a.key] = a.annotations
	}
	for told := range s.waiting[a.key] {
		select {
		case told <- struct{}{}:
		default: // told before
		}
	}
	return nil
}

// Delete implements cache.ReflectorStore.
func (s *store) Delete(object any) error {
	a, err := toAccount(object)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, a.key)
	return nil
}

// Replace implements cache.ReflectorStore.
func (s *store) Replace(objects []any, _ string) error {
	known := make(map[string][]annotation)
	for _, object := range objects {
		a, err := toAccount(object)
		if err != nil {
			return err
		}
		if a.annotations != nil {
			known[a.key] = a.annotations
		}
	}
	s.mu.Lock()
	s.known = known
	s.mu.Unlock()
	s.once.Do(func() { close(s.synced) })
	return nil
}

// Resync implements cache.ReflectorStore; there is nobody to tell.
func (*store) Resync() error { return nil }
