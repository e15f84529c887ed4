// Package configmap is a store in one Kubernetes ConfigMap: what an issuer
// that serves its own documents from several replicas needs, and no volume.
//
// All objects share the ConfigMap and so its version: a write to one of them
// moves the versions of all, and a write that is based on what was read before
// conflicts. That ties the documents to the state that they were made from. The
// objects together must stay below Kubernetes' 1 MiB. No headers are kept.
package configmap

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/issuer-sync/issuer-sync/internal/kube"
	"github.com/issuer-sync/issuer-sync/internal/store"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// writeAnnotation has another random value after each write. Without it the
// API server would take a write of equal bytes for none and keep the version.
const writeAnnotation = "issuer-sync.github.io/write"

// api is where the API server has ConfigMaps.
const api = "/api/v1"

var _ oidc.Store = (*Store)(nil)

// Store keeps all objects of one issuer in one ConfigMap. Versions are its
// resourceVersion. Labels, annotations and entries of others stay as they are.
//
// It needs the verbs get, create and patch.
type Store struct {
	// All fields are immutable.
	client rest.Interface
	name   types.NamespacedName
}

// New returns the store in the ConfigMap of the given name, which the first
// write creates in an existing namespace. The client must know the kind.
func New(client rest.Interface, name types.NamespacedName) *Store {
	return &Store{client: client, name: name}
}

// Read implements [oidc.Store].
func (s *Store) Read(ctx context.Context, path string) (oidc.Object, oidc.Version, error) {
	object, version, err := s.read(ctx, path)
	if err != nil {
		return oidc.Object{}, "", fmt.Errorf("reading %q in ConfigMap %s: %w", path, s.name, err)
	}
	return object, version, nil
}

func (s *Store) read(ctx context.Context, path string) (oidc.Object, oidc.Version, error) {
	if err := cmp.Or(ctx.Err(), checkPath(path)); err != nil {
		return oidc.Object{}, "", err
	}
	ctx, cancel := store.Bound(ctx)
	defer cancel()
	found, err := s.get(ctx)
	if err != nil {
		return oidc.Object{}, "", err
	}
	body, ok := found.Data[key(path)]
	if !ok {
		return oidc.Object{}, "", oidc.ErrNotFound
	}
	return oidc.Object{Path: path, Body: []byte(body)}, oidc.Version(found.ResourceVersion), nil
}

// Write implements [oidc.Store].
func (s *Store) Write(ctx context.Context, object oidc.Object, base oidc.Version) (oidc.Version, error) {
	version, err := s.write(ctx, object, base)
	if err != nil {
		return "", fmt.Errorf("writing %q in ConfigMap %s: %w", object.Path, s.name, err)
	}
	return version, nil
}

func (s *Store) write(ctx context.Context, object oidc.Object, base oidc.Version) (oidc.Version, error) {
	if err := cmp.Or(ctx.Err(), checkPath(object.Path), store.Check(object)); err != nil {
		return "", err
	}
	if !utf8.Valid(object.Body) {
		return "", errors.New("the object is not UTF-8, which the data of a ConfigMap must be")
	}
	ctx, cancel := store.Bound(ctx)
	defer cancel()
	change := corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{writeAnnotation: rand.Text()}},
		Data:       map[string]string{key(object.Path): string(object.Body)},
	}
	if base != "" {
		return s.patch(ctx, change, string(base))
	}
	found, err := s.get(ctx)
	switch {
	case errors.Is(err, oidc.ErrNotFound):
		return s.create(ctx, change)
	case err != nil:
		return "", err
	}
	if _, exists := found.Data[key(object.Path)]; exists {
		return "", oidc.ErrConflict
	}
	return s.patch(ctx, change, found.ResourceVersion)
}

// get returns the ConfigMap as it is in etcd: without a resourceVersion in the
// request no cache answers.
func (s *Store) get(ctx context.Context) (*corev1.ConfigMap, error) {
	request := s.client.Get().AbsPath(api).Namespace(s.name.Namespace).Resource("configmaps").Name(s.name.Name)
	var found corev1.ConfigMap
	err := kube.Do(ctx, request, &found)
	if apierrors.IsNotFound(err) {
		return nil, oidc.ErrNotFound
	}
	return &found, s.explain("get", err)
}

func (s *Store) create(ctx context.Context, configMap corev1.ConfigMap) (oidc.Version, error) {
	configMap.Name = s.name.Name
	request := s.client.Post().AbsPath(api).Namespace(s.name.Namespace).Resource("configmaps").Body(&configMap)
	var created corev1.ConfigMap
	err := kube.Do(ctx, request, &created)
	if apierrors.IsAlreadyExists(err) {
		return "", oidc.ErrConflict
	}
	if err != nil {
		return "", s.explain("create", err)
	}
	return oidc.Version(created.ResourceVersion), nil
}

// patch changes the ConfigMap if it still has the resourceVersion. A merge
// patch (RFC 7386) leaves alone what it does not name.
func (s *Store) patch(ctx context.Context, change corev1.ConfigMap, resourceVersion string) (oidc.Version, error) {
	change.ResourceVersion = resourceVersion
	body, err := json.Marshal(change)
	if err != nil {
		return "", err
	}
	request := s.client.Patch(types.MergePatchType).AbsPath(api).
		Namespace(s.name.Namespace).Resource("configmaps").Name(s.name.Name).Body(body)
	var patched corev1.ConfigMap
	err = kube.Do(ctx, request, &patched)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return "", oidc.ErrConflict
	}
	if err != nil {
		return "", s.explain("patch", err)
	}
	return oidc.Version(patched.ResourceVersion), nil
}

// checkPath refuses the paths that have no key of their own.
func checkPath(path string) error {
	if strings.Contains(path, "_") {
		return fmt.Errorf(`object path %q: "_" is not possible in a ConfigMap, where it stands for "/"`, path)
	}
	return store.CheckPath(path)
}

// key is the path as a ConfigMap's key, which consists of letters, digits, "-",
// "_" and "." (Kubernetes apimachinery, IsConfigMapKey).
func key(path string) string { return strings.ReplaceAll(path, "/", "_") }

// explain adds the cure to errors that an operator can cure, and passes on how
// long the API server wants to be left alone.
func (s *Store) explain(verb string, err error) error {
	if after := kube.RetryAfter(err); after > 0 {
		return &oidc.RetryAfterError{After: after, Err: err}
	}
	switch {
	case apierrors.IsForbidden(err) && verb == "create":
		// RBAC cannot name an object that does not exist yet.
		return fmt.Errorf(`%w: create the ConfigMap beforehand, or allow it with a Role in namespace %q that has the rule `+
			`{apiGroups: [""], resources: [configmaps], verbs: [create]}`, err, s.name.Namespace)
	case apierrors.IsForbidden(err):
		return fmt.Errorf(`%w: allow it with a Role in namespace %q that has the rule `+
			`{apiGroups: [""], resources: [configmaps], resourceNames: [%q], verbs: [get, patch]}`, err, s.name.Namespace, s.name.Name)
	case apierrors.IsNotFound(err) && verb == "create":
		return fmt.Errorf("%w: the namespace must exist", err)
	case apierrors.IsRequestEntityTooLargeError(err), apierrors.IsInvalid(err) && strings.Contains(err.Error(), "Too long"):
		return fmt.Errorf("%w: the objects in one ConfigMap must stay below 1 MiB together", err)
	default:
		return err
	}
}
