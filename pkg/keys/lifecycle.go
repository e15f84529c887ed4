package keys

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Phase is where a key is in its life.
type Phase string

// The phases, in the order of a life.
const (
	Waiting  Phase = "waiting"  // published, or about to be, but too young to sign
	Active   Phase = "active"   // every relying party has had time to see it: it may sign
	Retiring Phase = "retiring" // nobody shows it any more; it leaves once its last token has expired
	Revoked  Phase = "revoked"  // taken out by an operator, and kept out
)

// Policy is what an operator decides about the life of keys.
type Policy struct {
	// MinimumWait is how long a key must have been published before it may
	// sign: the largest max-age of the documents, and the time of CDNs.
	MinimumWait time.Duration
	// Retention is how long a key stays after the last of its origins stopped
	// showing it: the longest life of a token, 5 minutes of skew, max-age.
	Retention time.Duration
	// Max is how many keys are published at most.
	Max int
	// AcceptShrink are the IDs of keys that may leave although more than half
	// of the set would leave with them.
	AcceptShrink []string
}

// Moment is what a process knows of the present time: it lies within these
// bounds, which differ after the wall clock was set. Waits end by the earliest
// and begin at the latest, so that no jump of the clock shortens any.
type Moment struct {
	Earliest, Latest time.Time
}

// At returns the moment of a clock that is right.
func At(t time.Time) Moment { return Moment{t, t} }

// Record is what is remembered of one key. Times are zero until the thing happened.
type Record struct {
	Key Key
	// Seen is when the key was first observed or adopted.
	Seen time.Time
	// Published is when all stores were first found to hold it.
	Published time.Time
	// Exempt keys need not wait: those of an issuer's first publication, which
	// may sign already, and those adopted from published documents.
	Exempt bool
	// Signs is when an origin was first seen to sign with it.
	Signs time.Time
	// Origins are the [OriginID] of all places that ever showed the key, sorted.
	Origins []string
	// Absent is since when none of them shows it; zero while one does.
	Absent time.Time
	// Guarded says that the key was due to leave with too many others: it stays
	// until an operator accepts that.
	Guarded bool
	// Revoked is when an operator took the key out.
	Revoked time.Time
}

// OriginID returns what the state remembers of an origin's name: documents may
// be public, and with them the state; addresses inside the cluster are not.
func OriginID(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:8]) // few enough names that 64 bits tell them apart
}

// Phase returns the record's phase at the given time, and when the phase ends
// by itself; zero if it does not.
func (r Record) Phase(now time.Time, policy Policy) (Phase, time.Time) {
	var leaves time.Time
	if !r.Absent.IsZero() {
		leaves = r.Absent.Add(policy.Retention)
	}
	switch {
	case !r.Revoked.IsZero():
		return Revoked, leaves
	case !r.Absent.IsZero():
		return Retiring, leaves
	case r.Exempt:
		return Active, time.Time{}
	case r.Published.IsZero():
		return Waiting, time.Time{}
	}
	if until := r.Published.Add(policy.MinimumWait); now.Before(until) {
		return Waiting, until
	}
	return Active, time.Time{}
}

// Published returns the keys that are published when the records say what is
// remembered: all but the revoked. It depends on nothing else, so that the
// documents are a projection of the state.
func Published(records []Record) Set {
	var publish []Key
	for _, record := range records {
		if record.Revoked.IsZero() {
			publish = append(publish, record.Key)
		}
	}
	return sorted(publish)
}

// Alarm is something an operator must know of, or decide.
type Alarm struct {
	// Kind is stable, for metrics.
	Kind AlarmKind
	// KeyIDs are the keys it is about.
	KeyIDs []string
	// Origin is the place it is about, if it is about one.
	Origin string
	// Text says what is the case, and the cure.
	Text string
}

// AlarmKind names the cause of an alarm.
type AlarmKind string

// The alarms of [Decide].
const (
	AlarmClash      AlarmKind = "key-id-clash"
	AlarmDivergence AlarmKind = "divergence"
	AlarmShrink     AlarmKind = "shrink-refused"
	AlarmMax        AlarmKind = "too-many-keys"
	AlarmRevoked    AlarmKind = "revoked-key-shown"
	AlarmSigner     AlarmKind = "signs-with-unfit-key"
)

// Status is one key of a [Decision], for people.
type Status struct {
	Record Record
	Phase  Phase
	// Until is when the phase ends by itself; zero if it does not.
	Until time.Time
	// Shown are the origins that showed the key just now, Lacking those of
	// their groups that answered without it, Signing those that were seen to
	// sign with it last; sorted.
	Shown, Lacking, Signing []string
}

// Decision is what [Decide] decided.
type Decision struct {
	// Records is the state to remember, sorted by key ID.
	Records []Record
	// Publish are the keys to publish.
	Publish Set
	// Keys has every record with its phase.
	Keys []Status
	// Next is the next moment at which time alone changes something; zero if none.
	Next   time.Time
	Alarms []Alarm
}

// Situation is what [Decide] decides on.
type Situation struct {
	// Now is the time of the decision.
	Now Moment
	// Records is the state that the last decision left; nil at the first publication.
	Records []Record
	// First says that the first publication is not over: not every origin has
	// answered yet. It is implied while there are no records.
	First bool
	// Adopt are keys that were found published and that no record knows, to
	// be taken over: from a store that is new, or all if the records were lost.
	Adopt Set
	// Observations are the looks at all origins. One that failed changes
	// nothing, and a stale one only adds. An origin that is not among them is
	// gone, unless one of them failed or is stale or partial.
	Observations []Observation
	// Signing is the ID of the key that each origin signs with, where known.
	Signing map[string]string
	// Held are the keys that all stores were found to hold.
	Held   Set
	Policy Policy
}
