package publisher

import (
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// problems turns rounds into log lines: one when a problem begins or changes,
// one when it ends, none in between, so that the log of a week reads as a list
// of events.
type problems struct {
	log     *slog.Logger
	current map[string]string
}

func (p *problems) update(round Round) {
	for _, store := range round.Stores {
		if len(store.Written) > 0 {
			p.log.Info("published documents", "store", store.Store, "written", store.Written, "added_key_ids", store.Added)
		}
	}
	found := round.problems()
	for _, subject := range slices.Sorted(maps.Keys(found)) {
		if p.current[subject] != found[subject] {
			p.log.Warn("problem", "subject", subject, "err", found[subject])
		}
	}
	for _, subject := range slices.Sorted(maps.Keys(p.current)) {
		if _, still := found[subject]; !still {
			p.log.Info("problem is over", "subject", subject)
		}
	}
	p.current = found
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
			found["content of store "+store.Store] = "replaced a JWK set that nobody could read: " + store.Repaired
		}
	}
	for _, fault := range r.Faults {
		found[fault.Part] = fault.Error
	}
	for _, warning := range r.Warnings {
		found["issuer"] = warning
	}
	if r.Outside != nil && r.Outside.Failed() {
		found["outside view"] = strings.Join(failures(*r.Outside), "; ")
	}
	return found
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
