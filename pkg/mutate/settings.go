package mutate

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// What is valid, for messages.
const (
	wantGUID       = "a GUID such as 00000000-0000-0000-0000-000000000000"
	wantTenant     = "a GUID or a domain name such as contoso.onmicrosoft.com"
	wantExpiration = "whole seconds from 3600 to 86400"
	wantPort       = "a port from 1 to 65535"
	wantQuantity   = "a quantity such as 50m or 32Mi"
	wantMode       = `"redirect" or "env"`
)

// The bounds of azure-workload-identity. Kubernetes itself allows 600 s to 2^32 s.
const (
	minExpiration = 3600
	maxExpiration = 86400
)

// settings is what holds for one pod.
type settings struct {
	clientID   string // empty: its containers name their own
	tenantID   string
	expiration int64 // seconds
	audience   string
	endpoint   bool // the pod uses the custom token endpoint
	skip       map[string]bool

	proxy     bool
	mode      ProxyMode
	port      int64
	resources corev1.ResourceRequirements
}

// place is where an annotation may stand.
type place int

const (
	onPod place = iota
	onServiceAccount
)

// rule is a row of the table of precedence.
type rule struct {
	annotation string
	places     []place // that may say it, the strongest first
	otherwise  string  // what holds if none does; empty means nothing is set
	forProxy   bool    // read only if the proxy is injected
	want       string  // what is valid
	set        func(*settings, string) bool
}

// rules is the table of precedence. Two rules stand above it: a variable that
// a container sets itself, in any way, is never set; and a token volume that
// the pod brings is used as it is, with its own expiration.
func rules(options Options) []rule {
	pod, account := []place{onPod}, []place{onServiceAccount}
	return []rule{
		{AnnotationClientID, account, "", false, wantGUID, setClientID},
		{AnnotationTenantID, account, options.TenantID, false, wantTenant, setTenantID},
		{AnnotationTokenExpiration, []place{onPod, onServiceAccount}, "3600", false, wantExpiration, setExpiration},
		{AnnotationProxyMode, pod, string(options.Proxy.Mode), true, wantMode, setMode},
		{AnnotationProxyPort, pod, "8000", true, wantPort, setPort},
		{AnnotationProxyCPURequest, pod, "", true, wantQuantity, setRequest(corev1.ResourceCPU)},
		{AnnotationProxyMemoryRequest, pod, "", true, wantQuantity, setRequest(corev1.ResourceMemory)},
		{AnnotationProxyCPULimit, pod, "", true, wantQuantity, setLimit(corev1.ResourceCPU)},
		{AnnotationProxyMemoryLimit, pod, "", true, wantQuantity, setLimit(corev1.ResourceMemory)},
	}
}

func setClientID(s *settings, value string) bool {
	s.clientID = value
	return isGUID(value)
}

func setTenantID(s *settings, value string) bool {
	s.tenantID = value
	return isTenant(value)
}

func setExpiration(s *settings, value string) bool {
	seconds, err := strconv.ParseInt(value, 10, 64)
	s.expiration = seconds
	return err == nil && minExpiration <= seconds && seconds <= maxExpiration
}

func setPort(s *settings, value string) bool {
	port, err := strconv.ParseInt(value, 10, 64)
	s.port = port
	return err == nil && 1 <= port && port <= 65535
}

func setMode(s *settings, value string) bool {
	s.mode = ProxyMode(value)
	return s.mode.valid()
}

func setRequest(name corev1.ResourceName) func(*settings, string) bool {
	return func(s *settings, value string) bool { return setQuantity(s.resources.Requests, name, value) }
}

func setLimit(name corev1.ResourceName) func(*settings, string) bool {
	return func(s *settings, value string) bool { return setQuantity(s.resources.Limits, name, value) }
}

func setQuantity(list corev1.ResourceList, name corev1.ResourceName, value string) bool {
	quantity, err := resource.ParseQuantity(value)
	if err != nil || quantity.Sign() < 0 {
		return false
	}
	list[name] = quantity
	return true
}

// resolve finds out what holds for the pod.
func (w *mutation) resolve() error {
	w.skip = w.skipped()
	w.proxy = w.wantsProxy()
	w.endpoint = w.wantsEndpoint()
	w.audience = w.options.Audience
	if w.endpoint {
		w.audience = w.options.TokenEndpoint.Audience
	}
	if w.proxy {
		w.resources = copyResources(*w.options.Proxy.Resources)
	}
	for _, r := range w.rules {
		if r.forProxy && !w.proxy {
			if _, ok := w.pod.annotations[r.annotation]; ok {
				w.warn("annotation %s has no effect without %s", r.annotation, AnnotationInjectProxy)
			}
			continue
		}
		if err := w.apply(r); err != nil {
			return err
		}
	}
	return checkResources(w.resources)
}

// apply sets what the strongest place says. An empty value says nothing.
func (w *mutation) apply(r rule) error {
	for _, place := range r.places {
		annotations := w.pod.annotations
		if place == onServiceAccount {
			annotations = w.identity.Annotations
		}
		value, ok := annotations[r.annotation]
		switch {
		case !ok:
		case value == "":
			w.warn("annotation %s on %s is empty and has no effect; want %s", r.annotation, w.named(place), r.want)
		case r.set(&w.settings, value):
			return nil
		default:
			return refuse(ReasonAnnotation, "annotation %s on %s is %s; want %s", r.annotation, w.named(place), quote(value), r.want)
		}
	}
	if r.otherwise != "" {
		r.set(&w.settings, r.otherwise)
	}
	return nil
}

func (w *mutation) named(place place) string {
	if place == onServiceAccount {
		return w.identity.String()
	}
	return "the pod"
}

// wantsProxy reads AnnotationInjectProxy. azure-workload-identity injects for
// any value, so all that are not clearly "no" still do.
func (w *mutation) wantsProxy() bool {
	value, ok := w.pod.annotations[AnnotationInjectProxy]
	if !ok {
		return false
	}
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "false", "f", "no", "n", "off", "0":
		return false
	case "true", "t", "yes", "y", "on", "1":
	default:
		w.warn("annotation %s is %s, which injects the proxy; want \"true\" or \"false\"", AnnotationInjectProxy, quote(value))
	}
	return true
}

// wantsEndpoint reads the annotation of the custom token endpoint.
func (w *mutation) wantsEndpoint() bool {
	if w.options.TokenEndpoint == nil {
		return false
	}
	annotation := w.options.TokenEndpoint.annotation()
	value, ok := w.pod.annotations[annotation]
	if ok && !strings.EqualFold(value, "true") && !strings.EqualFold(value, "false") {
		w.warn("annotation %s is %s, which has no effect; want \"true\" or \"false\"", annotation, quote(value))
	}
	return w.asksForEndpoint(w.pod)
}

// skipped reads AnnotationSkipContainers. It returns those names that the pod has.
func (w *mutation) skipped() map[string]bool {
	value, ok := w.pod.annotations[AnnotationSkipContainers]
	if !ok {
		return nil
	}
	skip, unknown := map[string]bool{}, map[string]bool{}
	for c := range w.pod.all() {
		skip[c.name] = false
	}
	for name := range strings.SplitSeq(value, ";") {
		name = strings.TrimSpace(name)
		if _, ok := skip[name]; ok {
			skip[name] = true
		} else if name != "" && len(unknown) < maxContainers {
			unknown[name] = true
		}
	}
	maps.DeleteFunc(skip, func(_ string, skipped bool) bool { return !skipped })
	switch {
	case len(skip)+len(unknown) == 0:
		w.warn("annotation %s names no container; want names separated by semicolons", AnnotationSkipContainers)
	case len(unknown) > 0:
		w.warn("annotation %s: the pod has no %s; want names separated by semicolons", AnnotationSkipContainers, list("container", slices.Sorted(maps.Keys(unknown))))
	}
	return skip
}

func (w *mutation) skips(name string) bool { return w.skip[name] }

// copyResources copies the lists, to which annotations are then added.
func copyResources(r corev1.ResourceRequirements) corev1.ResourceRequirements {
	r = *r.DeepCopy()
	if r.Requests == nil {
		r.Requests = corev1.ResourceList{}
	}
	if r.Limits == nil {
		r.Limits = corev1.ResourceList{}
	}
	return r
}

// checkResources refuses what the API server would, in words that name the
// annotations.
func checkResources(r corev1.ResourceRequirements) error {
	names := map[corev1.ResourceName][2]string{
		corev1.ResourceCPU:    {AnnotationProxyCPURequest, AnnotationProxyCPULimit},
		corev1.ResourceMemory: {AnnotationProxyMemoryRequest, AnnotationProxyMemoryLimit},
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		request, limit, ok := requestFits(r, name)
		if !ok {
			return refuse(ReasonAnnotation, "the proxy's %s request %s is above its limit %s; change annotation %s or %s",
				name, request, limit, names[name][0], names[name][1])
		}
	}
	return nil
}

// requestFits returns request and limit as text, and whether one is within the other.
func requestFits(r corev1.ResourceRequirements, name corev1.ResourceName) (request, limit string, ok bool) {
	low, high := r.Requests[name], r.Limits[name]
	if _, limited := r.Limits[name]; !limited {
		return "", "", true
	}
	return low.String(), high.String(), low.Cmp(high) <= 0
}
