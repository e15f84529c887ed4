package publisher

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// problems turns rounds into log lines: one when a problem begins or changes,
// one when it ends, none in between, so that the log of a week reads as a list
// of events. It is safe for concurrent use.
type problems struct {
	log    *slog.Logger
	issuer string
	event  func(reason, note string, warning bool)
	leads  func() bool

	mu              sync.Mutex // guards what follows
	rounds, outside map[string]string
	phases          map[string]keys.Phase // nil before the first decision
}

// update notes what happened in a round, and what is wrong after it.
func (p *problems) update(round Round) {
	for _, store := range round.Stores {
		if len(store.Written) > 0 {
			p.log.Info("published documents", "store", store.Store, "written", store.Written,
				"added_key_ids", store.Added, "removed_key_ids", store.Removed)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.transitions(round)
	p.rounds = p.change(p.rounds, round.problems())
}

// transitions tells what became of the keys since the last round.
func (p *problems) transitions(round Round) {
	if round.Keys == nil {
		return // nothing was decided
	}
	now := make(map[string]keys.Phase)
	for _, key := range round.Keys {
		now[key.ID] = key.Phase
		if before, known := p.phases[key.ID]; p.phases != nil && before != key.Phase {
			p.transition(key, known, before)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(p.phases)) {
		if _, still := now[id]; !still {
			p.log.Info("key left", "key_id", id, "was", p.phases[id])
			p.tell("KeyRemoved", fmt.Sprintf("issuer %s: key %s was %s and has left", p.issuer, id, p.phases[id]), false)
		}
	}
	p.phases = now
}

// reasonOf is the reason of the Kubernetes Event.
func reasonOf(phase keys.Phase) string {
	return map[keys.Phase]string{
		keys.Waiting: "KeyWaiting", keys.Active: "KeyActive", keys.Retiring: "KeyRetiring", keys.Revoked: "KeyRevoked",
	}[phase]
}

func (p *problems) transition(key KeyResult, known bool, before keys.Phase) {
	attrs := []any{"key_id", key.ID, "phase", key.Phase}
	note := fmt.Sprintf("issuer %s: key %s is %s", p.issuer, key.ID, key.Phase)
	if known {
		attrs = append(attrs, "was", before)
		note += fmt.Sprintf(", was %s", before)
	}
	if !key.Until.IsZero() {
		attrs = append(attrs, "until", key.Until)
		note += ", until " + key.Until.UTC().Format(time.RFC3339)
	}
	p.log.Info("key changed", attrs...)
	p.tell(reasonOf(key.Phase), note, false)
}

// tell records an Event, if this process leads: one of all replicas is enough.
func (p *problems) tell(reason, note string, warning bool) {
	if p.event != nil && (p.leads == nil || p.leads()) {
		p.event(reason, note, warning)
	}
}

// updateOutside notes what is wrong as seen from outside.
func (p *problems) updateOutside(report oidc.Report) {
	found := make(map[string]string)
	if report.Failed() {
		found["outside view"] = strings.Join(failures(report), "; ")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.outside = p.change(p.outside, found)
}

// change logs the difference and returns found.
func (p *problems) change(before, found map[string]string) map[string]string {
	for _, subject := range slices.Sorted(maps.Keys(found)) {
		if before[subject] != found[subject] {
			p.log.Warn("problem", "subject", subject, "err", found[subject])
			p.tell("Problem", fmt.Sprintf("issuer %s: %s: %s", p.issuer, subject, found[subject]), true)
		}
	}
	for _, subject := range slices.Sorted(maps.Keys(before)) {
		if _, still := found[subject]; !still {
			p.log.Info("problem is over", "subject", subject)
			p.tell("ProblemOver", fmt.Sprintf("issuer %s: %s", p.issuer, subject), false)
		}
	}
	return found
}

// problems returns what is wrong, by subject.
func (r Round) problems() map[string]string {
	found := make(map[string]string)
	for _, source := range r.Sources {
		if isProblem(source.err) {
			found[source.Origin] = source.Error
		}
		if len(source.Skipped) > 0 {
			found["keys left out of "+source.Origin] = strings.Join(source.Skipped, "; ")
		}
	}
	for _, store := range r.Stores {
		if isProblem(store.err) {
			found["store "+store.Store] = store.Error
		}
	}
	for _, alarm := range r.Alarms {
		subject := "alarm " + string(alarm.Kind)
		if alarm.Origin != "" {
			subject += " of " + alarm.Origin
		}
		if other := found[subject]; other != "" {
			alarm.Text = other + "; " + alarm.Text
		}
		found[subject] = alarm.Text
	}
	for _, fault := range r.Faults {
		if isProblem(fault.err) {
			found[fault.Part] = fault.Error
		}
	}
	for i, warning := range r.Warnings {
		found[fmt.Sprintf("warning %d", i+1)] = warning
	}
	return found
}

func isProblem(err error) bool { return err != nil && !errors.Is(err, errLate) }

// failures returns the failed checks.
func failures(report oidc.Report) (failed []string) {
	for _, check := range report.Checks {
		if check.Status == oidc.Fail {
			failed = append(failed, check.Name+": "+check.Detail)
		}
	}
	return failed
}
