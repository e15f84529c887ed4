package chaos_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// ledger knows which keys must be public: every key that was seen published
// and whose file is there, or was removed less than the retention ago. It is
// safe for concurrent use.
type ledger struct {
	now   func() time.Time
	mu    sync.Mutex // guards what follows
	lives []life     // by key
	// discovery and jwks tell whether the document was ever seen; from then on
	// it must be there.
	discovery, jwks bool
	left            int
}

// life is what the ledger knows of one key. The key file may come and go
// between two daemons, or while one is killed. Only from a round that ended
// well, which notices every file that is there, is it known that the retention
// begins anew.
type life struct {
	present bool
	noticed bool      // in this presence
	added   time.Time // when the file was last there for sure
	removed time.Time // when it was last about to go
	absent  time.Time // when it was about to go first since it was noticed: the retention may have begun
	rests   bool      // it returns only after it left the documents
	// seen says that the documents had the key in its present life, covered
	// that discovery listed its algorithm then.
	seen, covered bool
	history       []string // for people
}

// note enters an event that people want to know when the key is lost.
func (l *life) note(now time.Time, event string) {
	l.history = append(l.history, now.UTC().Format("15:04:05.000 ")+event)
}

// tell returns the last events in the lives of the keys.
func (l *ledger) tell(s keySet) (events []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n, life := range l.lives {
		if s.has(n) {
			last := life.history[max(0, len(life.history)-8):]
			events = append(events, fmt.Sprintf("key %d: %s", n, strings.Join(last, ", ")))
		}
	}
	return events
}

// clockStep is what a retention may fall short of by rounding to whole seconds.
const clockStep = time.Second

// live reports whether nobody may have taken the key out yet.
func (l life) live(now time.Time) bool {
	return l.present || !l.absent.IsZero() && now.Before(l.absent.Add(retention-clockStep))
}

// gone reports whether the key left the documents, or never came to be there,
// and nothing that is under way changes that.
func (l life) gone(now time.Time) bool {
	return !l.present && !l.seen && now.After(l.removed.Add(retention+5*time.Second))
}

func newLedger(keys int, now func() time.Time) *ledger {
	return &ledger{now: now, lives: make([]life, keys)}
}

func (l *ledger) added(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	life, now := &l.lives[n], l.now()
	if life.gone(now) {
		life.absent = time.Time{}
	}
	life.present, life.added = true, now
	life.note(now, "added")
}

func (l *ledger) removing(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	resting := 0
	for _, life := range l.lives {
		if !life.present && life.rests {
			resting++
		}
	}
	life, now := &l.lives[n], l.now()
	if life.noticed || life.absent.IsZero() {
		life.absent = now
	}
	life.rests = life.noticed && resting < maxResting && rand.N(2) == 0
	life.present, life.noticed, life.removed = false, false, now
	life.note(now, "removed")
}

// maxResting leaves enough keys to come and go.
const maxResting = 6

// noticed enters that a round ended well.
func (l *ledger) noticed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for n := range l.lives {
		life := &l.lives[n]
		if life.present && !life.noticed {
			life.noticed = true
			life.note(now, "noticed")
		}
	}
}

// choices returns the keys that may be removed and those that may be added. A
// key whose retention may end just now is neither: the daemon could have taken
// it out before it saw that it is back, and be right.
func (l *ledger) choices() (present, absent []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for n, life := range l.lives {
		switch {
		case life.present:
			present = append(present, n)
		case life.gone(now), !life.rests && now.Before(life.absent.Add(retention/2)):
			absent = append(absent, n)
		}
	}
	return present, absent
}

// demand is what a read that begins now must find.
type demand struct {
	began           time.Time
	discovery, jwks bool
	keys, covered   keySet
}

func (l *ledger) demand() demand {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := demand{began: l.now(), discovery: l.discovery, jwks: l.jwks}
	for n, life := range l.lives {
		if life.seen && life.live(d.began) {
			d.keys, d.covered = d.keys.with(n, true), d.covered.with(n, life.covered)
		}
	}
	return d
}

// note enters what the read found that began with the demand, and returns the
// live keys that it lacked, and those that it had but no longer with their
// algorithm.
func (l *ledger) note(d demand, got sighting) (lost, uncovered keySet) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.discovery, l.jwks = l.discovery || got.discovery, l.jwks || got.jwks
	now := l.now()
	for n := range l.lives {
		life := &l.lives[n]
		switch {
		case got.keys.has(n):
			// What a slow read saw of an earlier life says nothing of this one.
			if !d.began.Before(life.added) {
				life.seen, life.covered = true, life.covered || got.covers.has(n)
			}
			uncovered = uncovered.with(n, d.covered.has(n) && !got.covers.has(n))
		case life.live(now):
			lost = lost.with(n, d.keys.has(n))
		case life.seen:
			life.seen, life.covered = false, false
			life.note(now, "left")
			l.left++
		}
	}
	return lost, uncovered
}

// present returns the keys that have a file, and those that must be public
// once the daemon was left alone: these, and all live ones ever seen.
func (l *ledger) present() (present, due keySet) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for n, life := range l.lives {
		present = present.with(n, life.present)
		due = due.with(n, life.present || life.seen && life.live(now))
	}
	return present, due
}

// departures returns how many keys left the documents after their retention.
func (l *ledger) departures() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.left
}
