package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// printRound prints what a round did, a line for each source and store.
func printRound(w io.Writer, round publisher.Round) {
	fmt.Fprintf(w, "issuer %s at %s\n", round.Issuer, round.Time.Format(time.RFC3339))
	for _, source := range round.Sources {
		fmt.Fprintf(w, "  source  %s: %s\n", source.Origin, sourceOutcome(source))
		for _, skipped := range source.Skipped {
			fmt.Fprintf(w, "          left out: %s\n", skipped)
		}
	}
	for _, store := range round.Stores {
		fmt.Fprintf(w, "  store   %s: %s\n", store.Store, storeOutcome(store))
		if store.Repaired != "" {
			fmt.Fprintf(w, "          edited by somebody else: %s\n", store.Repaired)
		}
	}
	if round.Outside != nil {
		fmt.Fprintf(w, "  outside %s\n", outsideOutcome(*round.Outside))
	}
	printTroubles(w, round)
}

func sourceOutcome(source publisher.SourceResult) string {
	if source.Error != "" {
		said := "FAILED: " + source.Error
		if !source.LastGood.IsZero() {
			said += "; last answered at " + source.LastGood.Format(time.RFC3339)
		}
		return said
	}
	return "keys " + strings.Join(source.Keys, ", ")
}

func storeOutcome(store publisher.StoreResult) string {
	var said []string
	if len(store.WouldWrite) > 0 {
		said = append(said, "would write "+strings.Join(store.WouldWrite, ", "))
	}
	if len(store.Written) > 0 {
		said = append(said, "wrote "+strings.Join(slices.Compact(slices.Clone(store.Written)), ", "))
	}
	if len(store.Added) > 0 {
		said = append(said, "new keys "+strings.Join(store.Added, ", "))
	}
	if len(store.Removed) > 0 {
		said = append(said, "removed keys "+strings.Join(store.Removed, ", "))
	}
	if store.Error != "" {
		said = append(said, "FAILED: "+store.Error)
	}
	if len(said) == 0 {
		return "up to date"
	}
	return strings.Join(said, "; ")
}

func outsideOutcome(report oidc.Report) string {
	count := map[oidc.Status]int{}
	var failed []string
	for _, check := range report.Checks {
		count[check.Status]++
		if check.Status == oidc.Fail {
			failed = append(failed, indent("          ", check.String()))
		}
	}
	summary := fmt.Sprintf("%d checks passed, %d warnings, %d failed", count[oidc.Pass], count[oidc.Warn], count[oidc.Fail])
	if len(failed) > 0 {
		summary += "\n" + strings.Join(failed, "\n") + "\n          see: issuer-sync verify " + report.Issuer
	}
	return summary
}

// printReport prints every check on a line, with its cure, so that grep finds both.
func printReport(w io.Writer, report oidc.Report) {
	for _, check := range report.Checks {
		fmt.Fprintln(w, check)
	}
}
