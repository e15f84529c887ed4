package publisher

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// signingInterval is the time between looks at what the API servers sign with,
// each of which makes a token: every second round, but not more often than need be.
func signingInterval(interval time.Duration) time.Duration { return min(2*interval, time.Minute) }

// inquiry asks one source, once at a time, and remembers its answer.
type inquiry struct {
	name     string
	source   Source
	interval time.Duration
	call     call[answer]
	backoff  backoff
	last     answer
	// asked is when the answer was last asked for, at the earliest: what it
	// says of the keys is not known to be so any later.
	asked time.Time
	// answered is when the last answer was asked for.
	answered time.Time
	// changed says that the source is worth another look, even if it failed a moment ago.
	changed atomic.Bool
	// signed is when the signing keys were last looked at.
	signed time.Time
	// good is when each origin last answered.
	good map[string]time.Time
}

// answer is what a source brought.
type answer struct {
	observations []keys.Observation
	issuer       string            // that its tokens name; empty if it knows none
	signing      map[string]string // the signing key's ID by origin, where known
}

func newInquiry(name string, source Source, interval time.Duration) *inquiry {
	return &inquiry{name: name, source: source, interval: interval, call: newCall[answer](), good: make(map[string]time.Time)}
}

// begin asks the source, unless it is being asked already, or failed a moment
// ago, or was late itself and the round is for what comes late. Else two slow
// sources would take turns at being late, and no key of both could ever leave.
func (q *inquiry) begin(ctx context.Context, now keys.Moment, pace pace) {
	if q.call.running || !q.changed.Swap(false) && (!q.backoff.due() || pace.collects && q.call.overdue) {
		return
	}
	q.asked = now.Earliest
	before := q.last
	lookAtSigning := time.Since(q.signed) >= signingInterval(q.interval)
	if lookAtSigning {
		q.signed = time.Now()
	}
	q.call.begin(func() answer {
		ctx, cancel := context.WithTimeout(ctx, gatherTimeout)
		defer cancel()
		issuer := make(chan string, 1)
		signing := make(chan map[string]string, 1)
		go func() { issuer <- issuerOf(ctx, q.source, before.issuer) }()
		if lookAtSigning {
			go func() { signing <- signingOf(ctx, q.source) }()
		}
		observations := q.source.Observe(ctx)
		switch {
		case lookAtSigning:
		case allShown(before.signing, observations):
			signing <- before.signing
		default: // what was learnt then may not be so any more
			signing <- signingOf(ctx, q.source)
		}
		return answer{observations: observations, issuer: <-issuer, signing: <-signing}
	}, pace.late)
}

// issuerOf returns the issuer that a source's tokens name; if it does not tell,
// the one that they named before: other origins of a cluster that has drifted
// may still answer. An error comes with one in Observe, which says more.
func issuerOf(ctx context.Context, source Source, before string) string {
	if signer, ok := source.(Signer); ok {
		if issuer, err := signer.Issuer(ctx); err == nil {
			return issuer
		}
	}
	return before
}

// allShown reports whether every origin still shows the key that it was seen to
// sign with.
func allShown(signing map[string]string, observations []keys.Observation) bool {
	for _, observation := range observations {
		id, known := signing[observation.Origin]
		if _, shown := observation.Keys.Key(id); known && !shown {
			return false
		}
	}
	return true
}

func signingOf(ctx context.Context, source Source) map[string]string {
	if observer, ok := source.(SigningObserver); ok {
		return observer.SigningKeys(ctx)
	}
	return nil
}

// await returns the source's answer; if it was not asked, or takes longer than
// the others should wait, the last one.
func (q *inquiry) await(patience <-chan struct{}) answer {
	if !q.call.running {
		return q.last
	}
	a, late := q.call.await(patience)
	if late != nil {
		return q.lastKnown(late)
	}
	q.last, q.answered = a, q.asked
	var err error
	for _, observation := range a.observations {
		if observation.Err != nil {
			err = observation.Err
		} else {
			q.good[observation.Origin] = time.Now().UTC()
		}
	}
	q.backoff.note(err, q.interval)
	return a
}

// lastKnown is the last answer of a source that is late. By now its origins may
// show again what they had dropped, and one that is not in the answer may be back.
func (q *inquiry) lastKnown(late error) answer {
	a := q.last
	a.observations = slices.Clone(a.observations)
	for i := range a.observations {
		a.observations[i].Stale = true
	}
	if len(a.observations) == 0 {
		a.observations = []keys.Observation{{Origin: q.name, Err: late}}
	}
	return a
}

// gathered is what all sources brought. It is decided on only together with
// the state, which may know of a source that it has drifted.
type gathered struct {
	names   []string // of the sources
	answers []answer
	asked   time.Time // when the first of them was asked; zero if there is none
}

// now is the time of a decision on what was gathered. What no source showed
// when it was asked may have returned since, if this process was stopped.
func (g gathered) now(now keys.Moment) keys.Moment {
	if !g.asked.IsZero() && g.asked.Before(now.Earliest) {
		now.Earliest = g.asked
	}
	return now
}

// gather awaits all sources, which begin was called for.
func (p *Publisher) gather(patience <-chan struct{}, round *Round) gathered {
	var g gathered
	for _, q := range p.inquiries {
		a := q.await(patience)
		if !q.call.running && q.changed.Load() { // while it was being asked
			p.Notify()
		}
		if asked := q.answered; !asked.IsZero() && (g.asked.IsZero() || asked.Before(g.asked)) {
			g.asked = asked
		}
		g.names = append(g.names, q.name)
		g.answers = append(g.answers, a)
		for _, observation := range a.observations {
			round.Sources = append(round.Sources, newSourceResult(observation, q.good[observation.Origin]))
		}
	}
	return g
}

// errNoKeys is reported while there is nothing to publish.
var errNoKeys = errors.New("no source shows a key, and none did before; nothing is published")

// noKeys says why there is nothing to publish.
func (g gathered) noKeys() error {
	for _, a := range g.answers {
		for _, observation := range a.observations {
			if errors.Is(observation.Err, errLate) {
				return fmt.Errorf("%s: %w", observation.Origin, errLate)
			}
		}
	}
	return errNoKeys
}

// signing joins what is known of the signing keys.
func (g gathered) signing() map[string]string {
	all := make(map[string]string)
	for _, a := range g.answers {
		maps.Copy(all, a.signing)
	}
	return all
}
