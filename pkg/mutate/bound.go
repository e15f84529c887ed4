package mutate

import (
	"encoding/json"
	"strings"
)

// Bounds of pods: more could not be stored, as etcd takes 1.5 MiB for an object.
const (
	maxContainers = 1000
	maxPatch      = 3 << 19 // bytes, but for the base
)

// Bytes of a patch, at most, but for the operator's values: what
// TestPatchesAreBounded and FuzzPatch hold.
const (
	baseSize      = 4 << 10 // volume, and what of the proxy no container of the pod's has
	containerSize = 1280    // variables and mounts, with a tenant's name of 253 bytes
	endpointSize  = 576     // those for the custom token endpoint
)

// bounds are bytes of a patch, at most.
type bounds struct {
	base      int
	container int // for each container
	endpoint  int // for each, if the pod uses the custom token endpoint
}

func (o Options) bounds() bounds {
	b := bounds{base: baseSize + jsonSize(o), container: containerSize + jsonSize(o.Cloud.AuthorityHost)}
	if e := o.TokenEndpoint; e != nil {
		b.endpoint = endpointSize + jsonSize([]string{e.URL, e.ServerName, e.CAData})
	}
	return b
}

func jsonSize(value any) int {
	data, err := json.Marshal(value)
	if err != nil {
		panic("internal error: marshalling options: " + err.Error())
	}
	return len(data)
}

// PatchBound returns how many bytes the patch for p has at most, for those who
// plan memory: less than 2 MiB, if the options are of a reasonable size.
func (m *Mutator) PatchBound(p Pod) int {
	if !p.Labelled() || p.mirror {
		return 0
	}
	each := m.perContainer(p)
	return m.bounds.base + each*(1+min(p.size(), mostOf(each)))
}

func (m *Mutator) perContainer(p Pod) int {
	if m.asksForEndpoint(p) {
		return m.bounds.container + m.bounds.endpoint
	}
	return m.bounds.container
}

// mostOf returns how many containers a pod may have, by the bytes for each.
func mostOf(each int) int { return min(maxContainers, maxPatch/each) }

// size is the number of containers.
func (p Pod) size() int { return len(p.initContainers) + len(p.containers) + p.dropped }

func (m *Mutator) asksForEndpoint(p Pod) bool {
	return m.options.TokenEndpoint != nil && strings.EqualFold(p.annotations[m.options.TokenEndpoint.annotation()], "true")
}
