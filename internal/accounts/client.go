package accounts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/issuer-sync/issuer-sync/internal/admission"
	"github.com/issuer-sync/issuer-sync/internal/kube"
)

// pageSize is how many ServiceAccounts are in memory with all their metadata
// while they are listed: up to 2 MB.
const pageSize = 500

// pageTimeout bounds one page of a list.
const pageTimeout = 30 * time.Second

// accept asks for metadata alone, which leaves the ServiceAccount's lists of
// secrets where they are, in the form that takes least to decode.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#metadata-only-fetches
const (
	accept     = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
	acceptList = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
)

// newClient returns a client that knows metadata and errors, nothing else. Its
// requests last until their contexts end: some are watches.
func newClient(settings *rest.Config) (rest.Interface, error) {
	kinds := runtime.NewScheme()
	if err := metav1.AddMetaToScheme(kinds); err != nil {
		return nil, err
	}
	metav1.AddToGroupVersion(kinds, schema.GroupVersion{Version: "v1"}) // Status, WatchEvent
	settings = rest.CopyConfig(settings)
	settings.QPS = -1 // maxAsking limits, and the API server has limits of its own
	// Compressing the pages of a list takes the API server longer than sending them.
	settings.DisableCompression = true
	settings.NegotiatedSerializer = serializer.NewCodecFactory(kinds).WithoutConversion()
	transport, err := rest.TransportFor(settings)
	if err != nil {
		return nil, err
	}
	return rest.UnversionedRESTClientForConfigAndClient(settings, &http.Client{Transport: transport, CheckRedirect: kube.NoRedirect})
}

// isPathSegment reports whether the name can stand in a path.
func isPathSegment(name string) bool {
	return name != "" && len(content.IsPathSegmentName(name)) == 0
}

func (c *Cache) request(accept string) *rest.Request {
	return c.client.Get().AbsPath("/api/v1").Resource("serviceaccounts").SetHeader("Accept", accept)
}

// get reads one ServiceAccount.
func (c *Cache) get(ctx context.Context, namespace, name string) (*metav1.PartialObjectMetadata, error) {
	var found metav1.PartialObjectMetadata
	err := kube.WithoutBody(c.request(accept).Namespace(namespace).Name(name).Do(ctx).Into(&found))
	switch {
	case err == nil:
		return &found, nil
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("ServiceAccount %q: %w", namespace+"/"+name, admission.ErrNoServiceAccount)
	}
	return nil, fmt.Errorf("reading ServiceAccount %q: %w", namespace+"/"+name, err)
}

// listWatch lists and watches all ServiceAccounts. The reflector streams them
// (WatchList) where the server can, else it lists.
func (c *Cache) listWatch(ctx context.Context) *cache.ListWatch {
	return &cache.ListWatch{
		// Not the context that comes with the call: the reflector gives lists one
		// that does not end with Run.
		ListWithContextFunc: func(_ context.Context, options metav1.ListOptions) (runtime.Object, error) {
			c.line.attempt()
			list, err := c.list(ctx, options)
			c.line.listed(err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			c.line.attempt()
			events, err := c.watch(ctx, options)
			c.line.watching(err)
			return events, err
		},
	}
}

// list reads a page, and returns what is kept of it.
func (c *Cache) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	if options.ResourceVersion == "0" {
		// Served from memory, this version is not paged (KEP-365), and 50,000
		// ServiceAccounts would be here at once.
		options.ResourceVersion = ""
	}
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	var page metav1.PartialObjectMetadataList
	err := c.request(acceptList).SpecificallyVersionedParams(&options, metav1.ParameterCodec, schema.GroupVersion{Version: "v1"}).Do(ctx).Into(&page)
	if err != nil {
		return nil, kube.WithoutBody(err)
	}
	list := &internalversion.List{ListMeta: page.ListMeta}
	for i := range page.Items {
		if account := newAccount(&page.Items[i]); account.annotations != nil {
			list.Items = append(list.Items, account)
		}
	}
	return list, nil
}

func (c *Cache) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	options.Watch = true
	events, err := c.request(accept).SpecificallyVersionedParams(&options, metav1.ParameterCodec, schema.GroupVersion{Version: "v1"}).Watch(ctx)
	if err == nil {
		return events, nil
	}
	err = kube.WithoutBody(err)
	if options.SendInitialEvents != nil && (utilnet.IsConnectionRefused(err) || apierrors.IsTooManyRequests(err)) {
		// After these two the reflector's watchList waits up to a minute whatever
		// becomes of its context (client-go, tools/cache/reflector.go). Errors that it
		// does not know end in a wait that is over with Run.
		err = errors.New(err.Error())
	}
	return nil, err
}
