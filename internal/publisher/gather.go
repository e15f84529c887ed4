package publisher

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// inquiry asks one source, once at a time, and remembers its answer.
type inquiry struct {
	name    string
	source  Source
	answers chan answer // of the one call under way
	asking  bool
	late    atomic.Bool // nobody waits for that call any more
	last    answer
}

// answer is what a source brought.
type answer struct {
	observations []keys.Observation
	issuer       string // that its tokens name; empty if it knows none
}

func newInquiry(name string, source Source) *inquiry {
	return &inquiry{name: name, source: source, answers: make(chan answer, 1)}
}

// begin asks the source unless it is being asked already. If the answer comes
// too late for await, late is called when it is there.
func (q *inquiry) begin(ctx context.Context, late func()) {
	if q.asking {
		return
	}
	q.asking = true
	go func() {
		ctx, cancel := context.WithTimeout(ctx, gatherTimeout)
		defer cancel()
		var a answer
		issuer := make(chan string, 1)
		go func() { issuer <- issuerOf(ctx, q.source) }()
		a.observations = q.source.Observe(ctx)
		a.issuer = <-issuer
		q.answers <- a
		if q.late.Swap(false) && late != nil {
			late()
		}
	}()
}

// issuerOf returns the issuer that a source's tokens name. An error comes with
// one in Observe, which says more.
func issuerOf(ctx context.Context, source Source) string {
	if signer, ok := source.(Signer); ok {
		if issuer, err := signer.Issuer(ctx); err == nil {
			return issuer
		}
	}
	return ""
}

// errLate stands for the answer of a source that is still being asked.
var errLate = errors.New("no answer yet")

// await returns the source's answer, or if it takes longer than the others
// should wait, its last one as failures.
func (q *inquiry) await(patience <-chan struct{}) answer {
	select {
	case q.last = <-q.answers:
		q.asking = false
		return q.last
	case <-patience:
	}
	q.late.Store(true)
	select {
	case q.last = <-q.answers: // it came just now
		q.late.Store(false)
		q.asking = false
		return q.last
	default:
	}
	late := answer{issuer: q.last.issuer}
	for _, observation := range q.last.observations {
		late.observations = append(late.observations, keys.Observation{Origin: observation.Origin, Err: errLate})
	}
	if len(late.observations) == 0 {
		late.observations = []keys.Observation{{Origin: q.name, Err: errLate}}
	}
	return late
}

// settle waits for the call under way, whose context has ended.
func (q *inquiry) settle() {
	if q.asking {
		q.last = <-q.answers
		q.asking = false
	}
}

// gather asks all sources in parallel. An origin that fails counts with what
// it last showed, so that an error never takes a key away.
func (p *Publisher) gather(ctx context.Context, patience time.Duration, late func(), round *Round) (keys.Set, error) {
	for _, q := range p.inquiries {
		q.begin(ctx, late)
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var sets []keys.Set
	for _, q := range p.inquiries {
		a := q.await(waiting.Done())
		for _, observation := range a.observations {
			if observation.Err == nil {
				p.lastGood[observation.Origin] = good{observation.Keys, round.Time}
			}
			last := p.lastGood[observation.Origin]
			sets = append(sets, last.keys)
			round.Sources = append(round.Sources, newSourceResult(observation, last.when))
		}
		if a.issuer != "" && a.issuer != p.config.Issuer.String() {
			round.Warnings = append(round.Warnings, p.drift(a.issuer))
		}
	}
	set, err := keys.Union(sets...)
	if err != nil {
		return keys.Set{}, fmt.Errorf("joining the keys of all sources: %w", err)
	}
	if set.Len() == 0 {
		return keys.Set{}, errors.New("no source shows a key, and none did before; what is published stays")
	}
	return set, nil
}

// drift is a warning only: publishing ahead of the switch must work.
func (p *Publisher) drift(actual string) string {
	return fmt.Sprintf("the cluster signs tokens as issuer %q, not %q: relying parties will refuse them until kube-apiserver runs with --service-account-issuer=%s as its first issuer", actual, p.config.Issuer, p.config.Issuer)
}
