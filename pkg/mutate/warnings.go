package mutate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// note remembers what to warn of in a container that lacked the variables in added.
func (w *mutation) note(c container, added []corev1.EnvVar) {
	if slices.ContainsFunc(added, func(v corev1.EnvVar) bool { return c.mayCarry(v.Name) }) {
		w.shadowed = append(w.shadowed, c.name)
	}
	if w.clientID == "" && !slices.Contains(c.env, envClientID) && !c.mayCarry(envClientID) {
		w.anonymous = append(w.anonymous, c.name)
	}
}

// mayCarry reports whether a source of envFrom can set the variable. What it
// holds is not known here.
func (c container) mayCarry(variable string) bool {
	return slices.ContainsFunc(c.envFrom, func(prefix string) bool { return strings.HasPrefix(variable, prefix) })
}

// firstUnprivileged is Linux' net.ipv4.ip_unprivileged_port_start, which some
// container runtimes set to 0, and others do not.
const firstUnprivileged = 1024

// warnOfMistakes warns of what is allowed, but seldom meant.
func (w *mutation) warnOfMistakes() {
	w.warnOfAnnotations()
	if w.clientID == "" && w.proxy {
		w.warn("%s has no annotation %s: the proxy can answer only requests that name a client ID", w.identity, AnnotationClientID)
	} else if len(w.anonymous) > 0 {
		w.warn("%s has no annotation %s: %s is not set in %s", w.identity, AnnotationClientID, envClientID, list("container", w.anonymous))
	}
	if w.proxy && w.port < firstUnprivileged {
		w.warn("annotation %s is %d: on many nodes the proxy, which has no privileges, cannot listen on a port below %d", AnnotationProxyPort, w.port, firstUnprivileged)
	}
	if len(w.shadowed) > 0 {
		w.warn("envFrom of %s may carry %s variables: those added by the webhook win over it", list("container", w.shadowed), envPrefix+"*")
	}
}

// warnOfAnnotations warns of annotations of our family that say nothing here.
func (w *mutation) warnOfAnnotations() {
	known := []string{AnnotationSkipContainers, AnnotationInjectProxy}
	for _, r := range w.rules {
		if slices.Contains(r.places, onPod) {
			known = append(known, r.annotation)
		}
	}
	if w.options.TokenEndpoint != nil {
		known = append(known, w.options.TokenEndpoint.annotation())
	}
	var misplaced, endpoints, unknown []string
	for _, name := range slices.Sorted(maps.Keys(w.pod.annotations)) {
		switch {
		case slices.Contains(known, name):
		case slices.Contains(ServiceAccountAnnotations(), name):
			misplaced = append(misplaced, name)
		case strings.HasPrefix(name, endpointPrefix):
			endpoints = append(endpoints, name)
		default:
			unknown = append(unknown, name)
		}
	}
	if len(misplaced) > 0 {
		w.warn("without effect on the pod: %s; want it on %s", list("annotation", misplaced), w.identity)
	}
	if len(endpoints) > 0 {
		w.warn("without effect: %s; the webhook is not set up for such a token endpoint", list("annotation", endpoints))
	}
	if len(unknown) > 0 {
		w.warn("without effect: unknown %s", list("annotation", unknown))
	}
}

// maxListed is how many names a warning lists.
const maxListed = 5

// list names things, such as containers.
func list(what string, names []string) string {
	var quoted []string
	for _, name := range names[:min(len(names), maxListed)] {
		quoted = append(quoted, quote(name))
	}
	text := strings.Join(quoted, ", ")
	if more := len(names) - len(quoted); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	if len(names) > 1 {
		what += "s"
	}
	return what + " " + text
}
