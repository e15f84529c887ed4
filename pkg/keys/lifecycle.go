package keys

import (
	"fmt"
	"maps"
	"slices"
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
	// Origins are the places that ever showed the key, with the time since
	// when each has not; zero while it does.
	Origins map[string]time.Time
	// Revoked is when an operator took the key out.
	Revoked time.Time
}

// phase returns the record's phase at the given time, and when the phase ends
// by itself; zero if it does not.
func (r Record) phase(now time.Time, policy Policy) (Phase, time.Time) {
	since, absent := r.absent()
	switch {
	case !r.Revoked.IsZero() && absent:
		return Revoked, since.Add(policy.Retention)
	case !r.Revoked.IsZero():
		return Revoked, time.Time{}
	case absent:
		return Retiring, since.Add(policy.Retention)
	}
	if r.Exempt {
		return Active, time.Time{}
	}
	if r.Published.IsZero() {
		return Waiting, time.Time{}
	}
	if until := r.Published.Add(policy.MinimumWait); now.Before(until) {
		return Waiting, until
	}
	return Active, time.Time{}
}

// absent returns since when none of the key's origins has shown it. A key
// without origins was adopted, and nobody showed it since.
func (r Record) absent() (since time.Time, absent bool) {
	since = r.Seen
	for _, gone := range r.Origins {
		if gone.IsZero() {
			return time.Time{}, false
		}
		if gone.After(since) {
			since = gone
		}
	}
	return since, true
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
	// Now is the time of the decision. It must not go backwards from one
	// decision to the next: a clock that jumps ahead shortens what it measures.
	Now time.Time
	// Records is the state that the last decision left; nil at the first publication.
	Records []Record
	// Observations are the looks at all origins. One that failed changes
	// nothing; an origin that is not among them is gone.
	Observations []Observation
	// Signing is the ID of the key that each origin signs with, where known.
	Signing map[string]string
	// Held are the keys that all stores were found to hold.
	Held   Set
	Policy Policy
}

// Decide decides what to publish. It has no clock and does no I/O. The rules:
//
//   - A key that any origin shows is published, unless it was revoked.
//   - An error never removes a key. A key leaves only when every origin that
//     ever showed it has answered without it, or has been gone, for the
//     retention, and no such origin is failing just now.
//   - If more than half of the keys would leave at once, none of those leaves
//     that the operator did not name.
//   - A key ID never changes its key: the known one stays.
//   - A revoked key is remembered, and kept out, for as long as any origin
//     shows it, and the retention after that.
//   - A key that signs before its wait is over, or that is not published, is an
//     alarm: relying parties may refuse its tokens.
//   - The published set is never empty while a record is left.
func Decide(s Situation) Decision {
	d := decider{Situation: s, records: make(map[string]Record, len(s.Records))}
	for _, record := range s.Records {
		record.Origins = maps.Clone(record.Origins)
		d.records[record.Key.ID] = record
	}
	first := len(s.Records) == 0
	for _, observation := range s.Observations {
		if observation.Err == nil {
			d.see(observation, first)
		}
	}
	d.markAbsent()
	d.confirm()
	d.remove()
	d.divergence()
	d.signers()
	return d.decision()
}

type decider struct {
	Situation
	records map[string]Record
	alarms  []Alarm
}

// see notes the keys that one origin shows.
func (d *decider) see(observation Observation, first bool) {
	for key := range observation.Keys.All() {
		record, known := d.records[key.ID]
		switch {
		case known && !record.Key.sameMaterial(key):
			d.alarm(AlarmClash, observation.Origin, []string{key.ID},
				"%s shows another key under ID %q; the known one stays: find out which API server signs with it", observation.Origin, key.ID)
			continue
		case known && !record.Revoked.IsZero():
			d.alarm(AlarmRevoked, observation.Origin, []string{key.ID},
				"%s still shows the revoked key %q: remove it there, or it may go on signing tokens that nobody accepts", observation.Origin, key.ID)
		case !known && d.published() >= d.Policy.Max:
			d.alarm(AlarmMax, observation.Origin, []string{key.ID},
				"%s shows the new key %q, but %d are published already and keys.max is %d: raise it, or remove old keys at the API servers", observation.Origin, key.ID, d.published(), d.Policy.Max)
			continue
		case !known:
			record = Record{Key: key, Seen: d.Now, Exempt: first, Origins: make(map[string]time.Time)}
		}
		if record.Origins == nil {
			record.Origins = make(map[string]time.Time)
		}
		record.Origins[observation.Origin] = time.Time{}
		d.records[key.ID] = record
	}
}

// published counts the keys that are not revoked.
func (d *decider) published() (n int) {
	for _, record := range d.records {
		if record.Revoked.IsZero() {
			n++
		}
	}
	return n
}

// markAbsent notes which origins no longer show a key, because they answered
// without it or are gone.
func (d *decider) markAbsent() {
	seen := make(map[string]Observation, len(d.Observations))
	for _, observation := range d.Observations {
		seen[observation.Origin] = observation
	}
	for _, record := range d.records {
		for origin, gone := range record.Origins {
			observation, asked := seen[origin]
			if asked && observation.Err != nil || !gone.IsZero() {
				continue
			}
			if key, shown := observation.Keys.Key(record.Key.ID); !shown || !key.sameMaterial(record.Key) {
				record.Origins[origin] = d.Now
			}
		}
	}
}

// confirm notes when a key was first found published everywhere. What is held
// that nobody remembers was decided elsewhere.
func (d *decider) confirm() {
	for id, record := range d.records {
		if _, held := d.Held.Key(id); held && record.Published.IsZero() {
			record.Published = d.Now
			d.records[id] = record
		}
	}
}

// remove forgets the keys whose retention is over.
func (d *decider) remove() {
	failing := make(map[string]bool)
	for _, observation := range d.Observations {
		failing[observation.Origin] = observation.Err != nil
	}
	var leaving []string
	for id, record := range d.records {
		phase, until := record.phase(d.Now, d.Policy)
		if until.IsZero() || d.Now.Before(until) || anyOf(record.Origins, failing) {
			continue
		}
		switch phase {
		case Retiring:
			leaving = append(leaving, id)
		case Revoked: // it left the published set long ago
			delete(d.records, id)
		}
	}
	slices.Sort(leaving)
	if total := d.published(); 2*len(leaving) > total || len(leaving) == total {
		refused := slices.DeleteFunc(slices.Clone(leaving), func(id string) bool { return slices.Contains(d.Policy.AcceptShrink, id) })
		leaving = slices.DeleteFunc(leaving, func(id string) bool { return slices.Contains(refused, id) })
		if len(refused) > 0 {
			d.alarm(AlarmShrink, "", refused,
				"%d of %d keys are due to leave at once; they stay until you accept it: issuer-sync publish --accept-shrink for each, if no token of theirs is in use", len(refused), total)
		}
	}
	for _, id := range leaving {
		delete(d.records, id)
	}
}

func anyOf(origins map[string]time.Time, set map[string]bool) bool {
	for origin := range origins {
		if set[origin] {
			return true
		}
	}
	return false
}

// divergence tells which origins lack keys that others show.
func (d *decider) divergence() {
	var shown []Set
	for _, observation := range d.Observations {
		if observation.Err == nil {
			shown = append(shown, observation.Keys)
		}
	}
	for _, observation := range d.Observations {
		if observation.Err != nil {
			continue
		}
		var lacks []string
		for _, set := range shown {
			lacks = append(lacks, set.Without(observation.Keys).IDs()...)
		}
		slices.Sort(lacks)
		if lacks = slices.Compact(lacks); len(lacks) > 0 {
			d.alarm(AlarmDivergence, observation.Origin, lacks,
				"%s does not show %q, which another does: it refuses tokens of that key; normal only in the middle of a rotation", observation.Origin, lacks)
		}
	}
}

// signers looks at what the origins sign with.
func (d *decider) signers() {
	for _, origin := range slices.Sorted(maps.Keys(d.Signing)) {
		id := d.Signing[origin]
		record, known := d.records[id]
		phase, until := record.phase(d.Now, d.Policy)
		switch {
		case !known:
			d.alarm(AlarmSigner, origin, []string{id}, "%s signs with key %q, which no source shows: no relying party accepts its tokens; add its public key to the sources", origin, id)
		case phase == Waiting && until.IsZero():
			d.alarm(AlarmSigner, origin, []string{id}, "%s signs with key %q, which is not published everywhere yet: relying parties refuse its tokens until it is", origin, id)
		case phase == Waiting:
			d.alarm(AlarmSigner, origin, []string{id}, "%s signs with key %q, which not every relying party has seen before %s: go back to the old signing key until then, if you can", origin, id, until.UTC().Format(time.RFC3339))
		case phase == Revoked:
			d.alarm(AlarmSigner, origin, []string{id}, "%s signs with the revoked key %q: no relying party accepts its tokens; give it another signing key", origin, id)
		}
	}
}

func (d *decider) alarm(kind AlarmKind, origin string, ids []string, format string, args ...any) {
	d.alarms = append(d.alarms, Alarm{Kind: kind, Origin: origin, KeyIDs: ids, Text: fmt.Sprintf(format, args...)})
}

func (d *decider) decision() Decision {
	decision := Decision{Alarms: d.alarms}
	var publish []Key
	for _, id := range slices.Sorted(maps.Keys(d.records)) {
		record := d.records[id]
		phase, until := record.phase(d.Now, d.Policy)
		decision.Records = append(decision.Records, record)
		decision.Keys = append(decision.Keys, Status{Record: record, Phase: phase, Until: until})
		if phase != Revoked {
			publish = append(publish, record.Key)
		}
		if until.After(d.Now) && (decision.Next.IsZero() || until.Before(decision.Next)) {
			decision.Next = until
		}
	}
	decision.Publish = Set{keys: publish}
	return decision
}
