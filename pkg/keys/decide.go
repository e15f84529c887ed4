package keys

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Decide decides what to publish. It has no clock and does no I/O. The rules:
//
//   - A key that any origin shows is published, unless it was revoked.
//   - An error never removes a key. A key leaves only when every origin that
//     ever showed it has answered without it, or has been gone, for the
//     retention, and no such origin is failing or late just now. What a late one
//     showed last still counts, what it lacked does not.
//   - A key that an origin signs with is in use, whoever shows it.
//   - If more than half of the keys would leave at once, none of those leaves
//     until the operator names it, or an origin has shown it again.
//   - A key ID never changes its key: the known one stays, and of two new ones
//     none is taken.
//   - A revoked key is remembered, and kept out, for as long as any origin
//     shows it, and the retention after that.
//   - A key that signs before its wait is over, or that is not published, is an
//     alarm: relying parties may refuse its tokens.
//   - The published set is never empty while a record that is not revoked is left.
func Decide(s Situation) Decision {
	d := decider{Situation: s, records: make(map[string]Record, len(s.Records)), shown: make(map[string][]string), clashes: make(map[string]bool)}
	for _, record := range s.Records {
		d.records[record.Key.ID] = record
	}
	d.adopt()
	first := s.First || len(d.records) == 0
	d.findClashes()
	for _, observation := range s.Observations {
		for key := range observation.Keys.All() {
			d.see(observation.Origin, key, first)
		}
	}
	d.noteSigners()
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
	shown   map[string][]string // the origins that show each key
	clashes map[string]bool     // the IDs under which origins show different keys
	alarms  []Alarm
}

// adopt takes over what was found published.
func (d *decider) adopt() {
	for key := range d.Adopt.All() {
		if _, known := d.records[key.ID]; !known {
			d.records[key.ID] = Record{Key: key, Seen: d.Now.Latest, Exempt: true}
		}
	}
}

// findClashes finds the IDs under which origins show different keys. The known
// one stays for as long as that lasts; of two new ones nobody can tell which is
// right.
func (d *decider) findClashes() {
	right := make(map[string]Key)
	for id, record := range d.records {
		right[id] = record.Key
	}
	for _, observation := range d.Observations {
		for key := range observation.Keys.All() {
			other, seen := right[key.ID]
			if !seen {
				right[key.ID] = key
			}
			if !seen || other.sameMaterial(key) {
				continue
			}
			d.clashes[key.ID] = true
			outcome := "none of them is published"
			if _, known := d.records[key.ID]; known {
				outcome = "the known one stays"
			}
			d.alarm(AlarmClash, observation.Origin, []string{key.ID},
				"%s shows another key under ID %q; %s: find out which API server signs with which", observation.Origin, key.ID, outcome)
		}
	}
}

// see notes that an origin shows a key.
func (d *decider) see(origin string, key Key, first bool) {
	record, known := d.records[key.ID]
	switch {
	case d.clashes[key.ID] && (!known || !record.Key.sameMaterial(key)):
		return
	case known && !record.Revoked.IsZero():
		d.alarm(AlarmRevoked, origin, []string{key.ID},
			"%s still shows the revoked key %q: remove it there, or it may go on signing tokens that nobody accepts", origin, key.ID)
	case !known && d.published() >= d.Policy.Max:
		d.alarm(AlarmMax, origin, []string{key.ID},
			"%s shows the new key %q, but %d are published already and keys.max is %d: raise it, or remove old keys at the API servers", origin, key.ID, d.published(), d.Policy.Max)
		return
	case !known:
		record = Record{Key: key, Seen: d.Now.Latest, Exempt: first}
	}
	if id := OriginID(origin); !slices.Contains(record.Origins, id) {
		record.Origins = slices.Sorted(slices.Values(append(slices.Clone(record.Origins), id)))
	}
	record.Absent, record.Guarded = time.Time{}, false
	d.records[key.ID] = record
	d.shown[key.ID] = append(d.shown[key.ID], origin)
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

// noteSigners notes which keys are signed with. An API server may sign with a
// key that it does not show; its tokens are in use all the same.
func (d *decider) noteSigners() {
	for _, id := range d.Signing {
		record, known := d.records[id]
		if !known {
			continue
		}
		if record.Signs.IsZero() {
			record.Signs = d.Now.Latest
		}
		record.Absent, record.Guarded = time.Time{}, false
		d.records[id] = record
	}
}

// markAbsent notes which keys no origin shows any more: each that ever did has
// answered without the key, or is gone. It is enough to look when the last one
// stops, which is when the retention begins.
func (d *decider) markAbsent() {
	for id, record := range d.records {
		if len(d.shown[id]) == 0 && len(d.signing(id)) == 0 && record.Absent.IsZero() && !d.unknown(record, Observation.Answered) {
			record.Absent = d.Now.Latest
			d.records[id] = record
		}
	}
}

// unknown reports whether an origin that may still show the key does not tell:
// one that did before, or, while any does not tell, one that is not listed; or
// whether there is a dispute about it. To decide, only what has answered tells.
// For an alarm the last answer does, or it would end whenever an origin is late.
func (d *decider) unknown(record Record, tells func(Observation) bool) bool {
	if d.clashes[record.Key.ID] {
		return true
	}
	listed := make(map[string]bool)
	var incomplete bool
	for _, observation := range d.Observations {
		id := OriginID(observation.Origin)
		listed[id] = true
		if !tells(observation) && slices.Contains(record.Origins, id) {
			return true
		}
		incomplete = incomplete || !tells(observation) || observation.Partial
	}
	unlisted := slices.ContainsFunc(record.Origins, func(id string) bool { return !listed[id] })
	return incomplete && (unlisted || len(record.Origins) == 0)
}

// confirm notes when a key was first found published everywhere.
func (d *decider) confirm() {
	for id, record := range d.records {
		held, ok := d.Held.Key(id)
		if ok && held.sameMaterial(record.Key) && record.Published.IsZero() && record.Revoked.IsZero() {
			record.Published = d.Now.Latest
			d.records[id] = record
		}
	}
}

// remove forgets the keys whose retention is over.
func (d *decider) remove() {
	var leaving []string
	for id, record := range d.records {
		phase, until := record.Phase(d.Now.Earliest, d.Policy)
		if until.IsZero() || d.Now.Earliest.Before(until) || d.unknown(record, Observation.known) {
			continue
		}
		switch {
		case phase == Retiring:
			leaving = append(leaving, id)
		case phase == Revoked && !d.unknown(record, Observation.Answered): // it left the published set long ago
			delete(d.records, id)
		}
	}
	slices.Sort(leaving)
	for _, id := range d.allowed(leaving) {
		delete(d.records, id)
	}
}

// allowed returns which of the keys that are due may leave together. One that
// had to stay once does so until it is accepted, however few others are due by
// then. One that an origin which is late may show stays until that answers.
func (d *decider) allowed(leaving []string) (allowed []string) {
	total := d.published()
	tooMany := 2*len(leaving) > total
	var refused []string
	for _, id := range leaving {
		record := d.records[id]
		record.Guarded = record.Guarded || tooMany
		d.records[id] = record
		switch {
		case record.Guarded && !slices.Contains(d.Policy.AcceptShrink, id):
			refused = append(refused, id)
		case len(allowed)+1 >= total: // whatever was accepted: an empty set is never published
			refused = append(refused, id)
		case !d.unknown(record, Observation.Answered):
			allowed = append(allowed, id)
		}
	}
	switch {
	case len(refused) > 0 && len(refused) == total:
		d.alarm(AlarmShrink, "", refused,
			"no source shows any of the %d published keys for longer than the retention; they stay, because an empty set is never published: give issuer-sync a source that shows the keys in use", total)
	case len(refused) > 0:
		d.alarm(AlarmShrink, "", refused,
			"of %d keys %d are due to leave, which were too many at once; they stay until you accept it, if no token of theirs is in use: issuer-sync publish --accept-shrink %s",
			total, len(refused), strings.Join(refused, ","))
	}
	return allowed
}

// lacking returns the origins that do not show a key which others of their
// group do.
func (d *decider) lacking(id string) (origins []string) {
	groups := make(map[string]bool)
	for _, observation := range d.Observations {
		if slices.Contains(d.shown[id], observation.Origin) {
			groups[observation.Group] = observation.Group != ""
		}
	}
	for _, observation := range d.Observations {
		if observation.Err == nil && groups[observation.Group] && !slices.Contains(d.shown[id], observation.Origin) {
			origins = append(origins, observation.Origin)
		}
	}
	slices.Sort(origins)
	return origins
}

// signing returns the origins that sign with a key.
func (d *decider) signing(id string) (origins []string) {
	for origin, signer := range d.Signing {
		if signer == id {
			origins = append(origins, origin)
		}
	}
	slices.Sort(origins)
	return origins
}

// divergence tells which API servers lack keys that others of their cluster show.
func (d *decider) divergence() {
	groups := make(map[string][]Set)
	for _, observation := range d.Observations {
		if observation.Err == nil && observation.Group != "" {
			groups[observation.Group] = append(groups[observation.Group], observation.Keys)
		}
	}
	for _, observation := range d.Observations {
		if observation.Err != nil {
			continue
		}
		var lacks []string
		for _, set := range groups[observation.Group] {
			lacks = append(lacks, set.Without(observation.Keys).IDs()...)
		}
		slices.Sort(lacks)
		if lacks = slices.Compact(lacks); len(lacks) > 0 {
			d.alarm(AlarmDivergence, observation.Origin, lacks,
				"%s does not show %q, which another API server does: it refuses tokens of that key; normal only in the middle of a rotation", observation.Origin, lacks)
		}
	}
}

// signers looks at what the origins sign with.
func (d *decider) signers() {
	for _, origin := range slices.Sorted(maps.Keys(d.Signing)) {
		id := d.Signing[origin]
		record, known := d.records[id]
		phase, until := record.Phase(d.Now.Earliest, d.Policy)
		switch {
		case !known:
			d.alarm(AlarmSigner, origin, []string{id}, "%s signs with key %q, which is not published: relying parties refuse its tokens; add its public key to the sources", origin, id)
		case phase == Waiting && until.IsZero():
			d.alarm(AlarmSigner, origin, []string{id}, "%s signs with key %q, which is not published everywhere yet: relying parties refuse its tokens until it is", origin, id)
		case phase == Waiting:
			d.alarm(AlarmSigner, origin, []string{id}, "%s signs with key %q, which not every relying party has seen before %s: go back to the old signing key until then, unless it is lost", origin, id, until.UTC().Format(time.RFC3339))
		case phase != Revoked && len(d.shown[id]) == 0 && !d.unknown(record, Observation.known):
			d.alarm(AlarmSigner, origin, []string{id}, "%s signs with key %q, which no API server accepts: its own tokens are refused; add the public key to --service-account-key-file, or let it sign with another", origin, id)
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
	for _, id := range slices.Sorted(maps.Keys(d.records)) {
		record := d.records[id]
		phase, until := record.Phase(d.Now.Earliest, d.Policy)
		decision.Records = append(decision.Records, record)
		decision.Keys = append(decision.Keys, Status{
			Record: record, Phase: phase, Until: until,
			Shown: slices.Sorted(slices.Values(d.shown[id])), Lacking: d.lacking(id), Signing: d.signing(id),
		})
		if until.After(d.Now.Earliest) && (decision.Next.IsZero() || until.Before(decision.Next)) {
			decision.Next = until
		}
	}
	decision.Publish = Published(decision.Records)
	return decision
}
