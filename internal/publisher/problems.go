package publisher

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// problems turns rounds into log lines: one when a problem begins or changes,
// one when it ends, none in between, so that the log of a week reads as a list
// of events. It is safe for concurrent use.
type problems struct {
	log *slog.Logger

	mu              sync.Mutex // guards what follows
	rounds, outside map[string]string
}

// update notes what is wrong after a round.
func (p *problems) update(round Round) {
	for _, store := range round.Stores {
		if len(store.Written) > 0 {
			p.log.Info("published documents", "store", store.Store, "written", store.Written, "added_key_ids", store.Added)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rounds = p.change(p.rounds, round.problems())
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
		}
	}
	for _, subject := range slices.Sorted(maps.Keys(before)) {
		if _, still := found[subject]; !still {
			p.log.Info("problem is over", "subject", subject)
		}
	}
	return found
}

// problems returns what is wrong, by subject.
func (r Round) problems() map[string]string {
	found := make(map[string]string)
	for _, source := range r.Sources {
		if source.Error != "" {
			found[source.Origin] = source.Error
		}
		if len(source.Skipped) > 0 {
			found["keys left out of "+source.Origin] = strings.Join(source.Skipped, "; ")
		}
	}
	for _, store := range r.Stores {
		if store.Error != "" {
			found["store "+store.Store] = store.Error
		}
		if store.Repaired != "" {
			found["content of store "+store.Store] = "somebody else changed it; repaired: " + store.Repaired
		}
		if len(store.Foreign) > 0 {
			found["foreign keys in store "+store.Store] = foreignText(store.Foreign)
		}
	}
	for _, fault := range r.Faults {
		found[fault.Part] = fault.Error
	}
	for i, warning := range r.Warnings {
		found[fmt.Sprintf("warning %d", i+1)] = warning
	}
	return found
}

func foreignText(ids []string) string {
	return "published, but shown by no source and not written here: " + strings.Join(ids, ", ") +
		"; if no other writer explains them, find out who may write to the store, and delete the JWK set"
}

// failures returns the failed checks.
func failures(report oidc.Report) (failed []string) {
	for _, check := range report.Checks {
		if check.Status == oidc.Fail {
			failed = append(failed, check.Name+": "+check.Detail)
		}
	}
	return failed
}
