package keys

// Observation is what one look at one origin of keys brought: either keys, or
// an error, never both. It is a plain value for the decision what to publish.
type Observation struct {
	// Origin names where the look went, stable from round to round: a file, a
	// URL, an API server's address.
	Origin string
	// Keys are the keys seen; empty if Err is set.
	Keys Set
	// Skipped are the keys seen but left out, with the reasons.
	Skipped []*Error
	// Err says why nothing was seen. It does not mean that there are no keys.
	Err error
}
