// Package mutate decides what a webhook adds to a pod, so that Azure's SDKs
// find an identity in it: a projected service account token, the variables
// that point to it, and, for SDKs too old for that, a proxy beside them.
// Labels, annotations, variables and paths are those of
// Azure/azure-workload-identity.
//
// A pod goes in as JSON, a JSON patch comes out. The patch only adds, and only
// what is missing: fields that this package does not know stay as they are, and
// a pod that has everything gets none. There is no I/O and no clock; who asks,
// and over what, is the caller's.
package mutate

import "fmt"

// Mutator makes patches by the choices of one operator. It is immutable and
// safe for concurrent use.
type Mutator struct {
	options Options
	rules   []rule
	bounds  bounds
}

// New checks the options, and what they point to must not change afterwards.
// The error joins all faults, each with its value and what would be valid.
func New(options Options) (*Mutator, error) {
	options = options.withDefaults()
	if err := options.check(); err != nil {
		return nil, err
	}
	return &Mutator{options: options, rules: rules(options), bounds: options.bounds()}, nil
}

// Outcome is what became of a pod, short enough for the label of a metric.
type Outcome string

// The outcomes.
const (
	Mutated     Outcome = "mutated"      // there is a patch
	Complete    Outcome = "complete"     // the pod has everything, as after an earlier patch
	NotLabelled Outcome = "not_labelled" // the pod does not ask for an identity
	MirrorPod   Outcome = "mirror_pod"   // the node runs it already, and no token can be added
)

// Result is the answer for one pod.
type Result struct {
	Outcome Outcome
	// Patch is a JSON patch (RFC 6902) of "add" operations, or nil if there is
	// nothing to do.
	Patch []byte
	// Warnings are for whoever made the pod: each says what looks like a mistake.
	Warnings []string
}

// Patch returns what the pod lacks. It is idempotent: the pod with the patch
// applied gets no further one, whatever else was added in between. An error is
// a [*Refusal]: then nothing may be added, and the pod is not to be admitted.
//
// identity is that of the ServiceAccount pod.ServiceAccount, in the pod's namespace.
func (m *Mutator) Patch(p Pod, identity Identity) (Result, error) {
	switch {
	case !p.Labelled():
		return Result{Outcome: NotLabelled}, nil
	case p.mirror:
		return Result{Outcome: MirrorPod}, nil
	}
	if n, most := p.size(), mostOf(m.perContainer(p)); n > most {
		return Result{}, refuse(ReasonTooLarge, "the pod has %d containers; want at most %d", n, most)
	}
	w := mutation{Mutator: m, pod: p, identity: identity}
	for _, step := range []func() error{w.resolve, w.findToken, w.checkProxy, w.addToContainers} {
		if err := step(); err != nil {
			return Result{}, err
		}
	}
	// After the containers, whose indices the proxy's move.
	w.addVolume()
	w.addProxy()
	w.warnOfMistakes()
	if len(w.patch) == 0 {
		return Result{Outcome: Complete, Warnings: w.warnings}, nil
	}
	return Result{Outcome: Mutated, Patch: w.patch.json(), Warnings: w.warnings}, nil
}

// mutation is the work on one pod.
type mutation struct {
	*Mutator
	pod      Pod
	identity Identity
	settings
	token string // the pod's own volume with the token, if it has one
	// The pod's volumes, and whether they can be that; see projectsToken.
	projecting map[string]bool
	patch      patch
	warnings   []string
	// Containers to warn of.
	shadowed  []string // a source of envFrom may carry a variable that was added
	anonymous []string // nobody says which identity is theirs
}

func (w *mutation) warn(format string, args ...any) {
	w.warnings = append(w.warnings, fmt.Sprintf(format, args...))
}
