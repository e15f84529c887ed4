package publisher

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// Round is the report of one round. Its JSON is what users see with -o json.
type Round struct {
	Issuer string `json:"issuer"`
	// Time is when the round began.
	Time    time.Time      `json:"time"`
	Sources []SourceResult `json:"sources"`
	// Keys are the IDs of the keys that the first store now holds.
	Keys   []string      `json:"keys"`
	Stores []StoreResult `json:"stores"`
	// Outside is what a relying party sees, if somebody looked.
	Outside  *oidc.Report `json:"outside,omitempty"`
	Warnings []string     `json:"warnings,omitempty"`
	Faults   []Fault      `json:"faults,omitempty"`
}

// SourceResult is what one origin of keys showed.
type SourceResult struct {
	Origin  string   `json:"origin"`
	Keys    []string `json:"keys"`
	Skipped []string `json:"skipped,omitempty"`
	Error   string   `json:"error,omitempty"`
	// LastGood is when the origin last answered; zero if it never did.
	LastGood time.Time `json:"lastGood,omitzero"`
}

// StoreResult is what happened at one store.
type StoreResult struct {
	Store string `json:"store"`
	// Added are the IDs of keys that the store did not hold before.
	Added []string `json:"added,omitempty"`
	// Written are the paths of the objects that were written.
	Written []string `json:"written,omitempty"`
	// WouldWrite are the paths of the objects that a round, not a plan, would write.
	WouldWrite []string `json:"wouldWrite,omitempty"`
	// Repaired says what somebody else had done to the stored JWK set.
	Repaired string `json:"repaired,omitempty"`
	// Forgotten says that what was repaired may have held other keys, which
	// nobody remembers.
	Forgotten bool `json:"forgotten,omitempty"`
	// Foreign are the IDs of keys in the store that no source ever showed.
	Foreign []string `json:"foreign,omitempty"`
	Error   string   `json:"error,omitempty"`
}

// Fault is something that went wrong with the round as a whole.
type Fault struct {
	Part  string `json:"part"`
	Error string `json:"error"`
}

func newSourceResult(observation keys.Observation, lastGood time.Time) SourceResult {
	result := SourceResult{Origin: observation.Origin, Keys: observation.Keys.IDs(), LastGood: lastGood}
	for _, skipped := range observation.Skipped {
		result.Skipped = append(result.Skipped, skipped.Error())
	}
	if observation.Err != nil {
		result.Error = strings.TrimPrefix(observation.Err.Error(), observation.Origin+": ")
	}
	if refused, ok := errors.AsType[*keys.Error](observation.Err); ok && refused.Fingerprint != "" {
		result.Error += fmt.Sprintf(" (the input has SHA-256 %.16s...)", refused.Fingerprint)
	}
	return result
}

func (r *Round) fault(part string, err error) {
	r.Faults = append(r.Faults, Fault{Part: part, Error: err.Error()})
}

// fault records the outcome of the last try; nil clears an earlier one.
func (s *StoreResult) fault(err error) {
	s.Error = ""
	if err != nil {
		s.Error = err.Error()
	}
}

// Pending reports whether a plan found something to write.
func (r Round) Pending() bool {
	for _, store := range r.Stores {
		if len(store.WouldWrite) > 0 {
			return true
		}
	}
	return false
}

// Err returns what could not be read, written or seen from outside, or nil.
func (r Round) Err() error {
	var faults []error
	for _, source := range r.Sources {
		if source.Error != "" {
			faults = append(faults, fmt.Errorf("%s: %s", source.Origin, source.Error))
		}
	}
	for _, store := range r.Stores {
		if store.Error != "" {
			faults = append(faults, fmt.Errorf("store %s: %s", store.Store, store.Error))
		}
		if store.Forgotten {
			faults = append(faults, fmt.Errorf("store %s: replaced a JWK set that could not be read (%s): keys that only it had are lost", store.Store, store.Repaired))
		}
	}
	for _, fault := range r.Faults {
		faults = append(faults, fmt.Errorf("%s: %s", fault.Part, fault.Error))
	}
	if r.Outside != nil && r.Outside.Failed() {
		faults = append(faults, errors.New("seen from outside, the documents fail"))
	}
	return errors.Join(faults...)
}
