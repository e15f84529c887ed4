package publisher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// Round is the report of one round. Its JSON is what users see with -o json.
type Round struct {
	Issuer string `json:"issuer"`
	// Time is when the round began.
	Time time.Time `json:"time"`
	// Following says that another replica leads: nothing was asked and written,
	// and what the state says is served.
	Following bool           `json:"following,omitempty"`
	Sources   []SourceResult `json:"sources"`
	// Keys are the keys that the state remembers.
	Keys []KeyResult `json:"keys"`
	// NextChange is when time alone changes a key's phase next.
	NextChange time.Time `json:"nextChange,omitzero"`
	// StateMissing says that there was no state when the round began.
	StateMissing bool `json:"stateMissing,omitempty"`
	// StateWritten says that the state was changed, or in a plan would be.
	StateWritten bool          `json:"stateWritten,omitempty"`
	Stores       []StoreResult `json:"stores"`
	// Outside is what a relying party sees, if somebody looked.
	Outside *oidc.Report `json:"outside,omitempty"`
	// Alarms are for an operator to know of or to decide; what is published
	// stays as safe as it was.
	Alarms   []Alarm  `json:"alarms,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	Faults   []Fault  `json:"faults,omitempty"`

	events []keys.Alarm // what is over once the round is
}

// KeyResult is one key.
type KeyResult struct {
	ID        string     `json:"id"`
	Algorithm string     `json:"algorithm"`
	Phase     keys.Phase `json:"phase"`
	// Until is when the phase ends by itself: a waiting key may sign then, a
	// retiring one leaves, a revoked one is forgotten.
	Until time.Time `json:"until,omitzero"`
	// Shown are the origins that show the key now, Lacking the API servers that
	// do not while others of their cluster do, Signing those that sign with it.
	Shown   []string `json:"shown"`
	Lacking []string `json:"lacking,omitempty"`
	Signing []string `json:"signing,omitempty"`
	// Seen, Published, Signs, Absent and Revoked are when the key was first
	// seen, was first held by all stores, was first seen to sign, was last
	// shown by anybody, and was revoked.
	Seen      time.Time `json:"seen"`
	Published time.Time `json:"published,omitzero"`
	Signs     time.Time `json:"signs,omitzero"`
	Absent    time.Time `json:"absentSince,omitzero"`
	Revoked   time.Time `json:"revoked,omitzero"`
}

// Alarm is a keys.Alarm as JSON.
type Alarm struct {
	Kind   keys.AlarmKind `json:"kind"`
	KeyIDs []string       `json:"keyIds,omitempty"`
	Origin string         `json:"origin,omitempty"`
	Text   string         `json:"text"`
}

// SourceResult is what one origin of keys showed.
type SourceResult struct {
	Origin  string   `json:"origin"`
	Keys    []string `json:"keys"`
	Skipped []string `json:"skipped,omitempty"`
	Error   string   `json:"error,omitempty"`
	// LastGood is when the origin last answered; zero if it never did.
	LastGood time.Time `json:"lastGood,omitzero"`

	err error // that Error tells
}

// StoreResult is what happened at one store.
type StoreResult struct {
	Store string `json:"store"`
	// Added and Removed are the IDs of keys that the store did not hold before,
	// and does not hold any more.
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
	// Written are the paths of the objects that were written.
	Written []string `json:"written,omitempty"`
	// WouldWrite are the paths of the objects that a round, not a plan, would write.
	WouldWrite []string `json:"wouldWrite,omitempty"`
	// Repaired says what somebody else had done to the store.
	Repaired string `json:"repaired,omitempty"`
	Error    string `json:"error,omitempty"`
	// Reason is the kind of the error, stable for metrics.
	Reason string `json:"reason,omitempty"`

	err error // that Error tells
}

// Fault is something that went wrong with the round as a whole.
type Fault struct {
	Part  string `json:"part"`
	Error string `json:"error"`

	err error // that Error tells
}

func newSourceResult(observation keys.Observation, lastGood time.Time) SourceResult {
	result := SourceResult{Origin: observation.Origin, Keys: observation.Keys.IDs(), LastGood: lastGood, err: observation.Err}
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
	r.Faults = append(r.Faults, Fault{Part: part, Error: err.Error(), err: err})
}

// decided takes over what a decision found. A round may decide several times:
// what holds is what the last one found, what happened is what any did.
func (r *Round) decided(decision keys.Decision, found findings) {
	r.keys(decision.Keys)
	r.NextChange = decision.Next
	r.events = append(r.events, found.events...)
	r.alarms(slices.Concat(r.events, found.alarms))
	for _, warning := range found.warnings {
		if !slices.Contains(r.Warnings, warning) {
			r.Warnings = append(r.Warnings, warning)
		}
	}
	for i := range r.Stores {
		if edits := found.repaired[r.Stores[i].Store]; edits != "" {
			r.Stores[i].Repaired = edits
		}
	}
	if found.forgotten != nil {
		r.fault("documents", found.forgotten)
	}
}

func (r *Round) alarms(all []keys.Alarm) {
	r.Alarms = nil
	for _, alarm := range all {
		r.Alarms = append(r.Alarms, Alarm(alarm))
	}
}

func (r *Round) keys(all []keys.Status) {
	r.Keys = make([]KeyResult, len(all))
	for i, status := range all {
		k := status.Record
		r.Keys[i] = KeyResult{
			ID: k.Key.ID, Algorithm: k.Key.Algorithm, Phase: status.Phase, Until: status.Until,
			Shown: status.Shown, Lacking: status.Lacking, Signing: status.Signing,
			Seen: k.Seen, Published: k.Published, Signs: k.Signs, Absent: k.Absent, Revoked: k.Revoked,
		}
	}
}

// IDs returns the IDs of the keys that are published, sorted.
func (r Round) IDs() (ids []string) {
	for _, key := range r.Keys {
		if key.Phase != keys.Revoked {
			ids = append(ids, key.ID)
		}
	}
	return ids
}

// compare notes which keys the store is about to get and to lose.
func (s *StoreResult) compare(held, wanted keys.Set) {
	s.Added = union(s.Added, wanted.Without(held).IDs())
	s.Removed = union(s.Removed, held.Without(wanted).IDs())
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// fault records the outcome of the last try; nil clears an earlier one.
func (s *StoreResult) fault(err error) {
	s.Error, s.Reason, s.err = "", "", err
	if err != nil {
		s.Error, s.Reason = err.Error(), reason(err)
	}
}

// reason is the kind of a store's error.
func reason(err error) string {
	_, throttled := errors.AsType[*oidc.RetryAfterError](err)
	switch {
	case throttled:
		return "throttled"
	case errors.Is(err, oidc.ErrConflict):
		return "conflict"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, errLate):
		return "timeout"
	default:
		return "error"
	}
}

// Pending reports whether a plan found something to write.
func (r Round) Pending() bool {
	return r.StateWritten || slices.ContainsFunc(r.Stores, func(s StoreResult) bool { return len(s.WouldWrite) > 0 })
}

// keepsOut reports whether the alarm means that a key which is shown is not published.
func keepsOut(kind keys.AlarmKind) bool {
	return kind == keys.AlarmClash || kind == keys.AlarmMax || kind == AlarmIssuerDrift
}

// Err returns what could not be read, published, written or seen from outside,
// or nil.
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
	}
	for _, fault := range r.Faults {
		faults = append(faults, fmt.Errorf("%s: %s", fault.Part, fault.Error))
	}
	for _, alarm := range r.Alarms {
		if keepsOut(alarm.Kind) {
			faults = append(faults, fmt.Errorf("alarm %s: %s", alarm.Kind, alarm.Text))
		}
	}
	if r.Outside != nil && r.Outside.Failed() {
		faults = append(faults, errors.New("seen from outside, the documents fail"))
	}
	return errors.Join(faults...)
}
