package mutate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Lint returns warnings of what only a file can have: an API server would not
// ask about such a pod, or not together with this ServiceAccount. What
// [Mutator.Patch] warns of is not repeated.
func Lint(p Pod, identity Identity) []string {
	var found []string
	warn := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }

	_, onAccount := identity.Labels[Label]
	_, asAnnotation := p.annotations[Label]
	switch {
	case p.Labelled():
	case p.label != "":
		warn("label %s of the pod is %s: the pod gets no identity; want \"true\"", Label, quote(p.label))
	case onAccount:
		warn("label %s is on %s: it belongs on the pod, which gets no identity without", Label, identity)
	case asAnnotation:
		warn("annotation %s of the pod has to be a label: the pod gets no identity without", Label)
	default:
		warn("the pod has no label %s: it gets no identity; want the value \"true\"", Label)
	}
	if p.ServiceAccount != identity.Name {
		warn("the pod runs as ServiceAccount %s, not %s", quote(p.ServiceAccount), quote(identity.Name))
	}
	if p.Namespace != "" && identity.Namespace != "" && p.Namespace != identity.Namespace {
		warn("the pod is in namespace %s, the ServiceAccount in %s", quote(p.Namespace), quote(identity.Namespace))
	}
	for _, name := range slices.Sorted(maps.Keys(identity.Annotations)) {
		if strings.HasPrefix(name, prefix) && !slices.Contains(ServiceAccountAnnotations(), name) {
			warn("annotation %s on %s has no effect", name, identity)
		}
	}
	return found
}
