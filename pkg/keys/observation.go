package keys

// Observation is what one look at one origin of keys brought: either keys, or
// an error, never both. It is a plain value for the decision what to publish.
type Observation struct {
	// Origin names where the look went, stable from round to round: a file, a
	// URL, an API server's address.
	Origin string
	// Group names the origins that should show the same keys: the API servers
	// of one cluster. Empty: the origin stands alone.
	Group string
	// Partial says that there may be origins beside this one that could not be
	// listed just now.
	Partial bool
	// Stale says that the origin has not answered yet, and that this is what it
	// showed the last time: a key that it shows counts, one that it lacks does
	// not, and nobody knows which origins there are beside it by now.
	Stale bool
	// Keys are the keys seen; empty if Err is set.
	Keys Set
	// Skipped are the keys seen but left out, with the reasons.
	Skipped []*Error
	// Err says why nothing was seen. It does not mean that there are no keys.
	Err error
}

// Answered reports whether the origin answered just now, so that what it does
// not show counts, too.
func (o Observation) Answered() bool { return o.Err == nil && !o.Stale }

// known reports whether there is an answer, however old.
func (o Observation) known() bool { return o.Err == nil }
