package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/issuer-sync/issuer-sync/internal/command"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// statusPatience is how long status waits for sources and stores: somebody is
// waiting in front of it.
const statusPatience = 5 * time.Second

func newStatusCommand(lookup lookupFunc) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show every issuer's keys and where they are in their lives",
		Long: `Reads the state from the store and looks at the sources, writes nothing, and
shows for each key its phase and when that ends, who shows it, since when it is
published and since when it signs; then what is wrong. Sources that do not
answer within 5 seconds count as failing. Exits with 1 if the state or a store
cannot be read.

Phases: waiting (published, too young to sign), active (may sign), retiring (no
API server shows it; it leaves once its tokens have expired), revoked (kept out).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			publishers, err := configured(cmd, lookup, builder{})
			if err != nil {
				return err
			}
			var rounds []publisher.Round
			for _, p := range publishers {
				rounds = append(rounds, p.Plan(cmd.Context(), statusPatience))
			}
			if err := printStatuses(cmd.OutOrStdout(), rounds, output); err != nil {
				return command.Failed(err)
			}
			if slices.ContainsFunc(rounds, unreadable) {
				return &command.Failure{Code: command.ExitFailed}
			}
			return nil
		},
	}
	command.OutputFlag(cmd, &output, "text", "json")
	bindFlags(cmd.Flags(), documentSettings())
	return cmd
}

// unreadable reports whether the state or a store could not be read. A source
// that fails is shown; it may be out of reach from here.
func unreadable(round publisher.Round) bool {
	return len(round.Faults) > 0 || slices.ContainsFunc(round.Stores, func(s publisher.StoreResult) bool { return s.Error != "" })
}

func printStatuses(w io.Writer, rounds []publisher.Round, output string) error {
	if output == "json" {
		return printJSON(w, rounds)
	}
	for _, round := range rounds {
		printStatus(w, round, time.Now(), planNote(round))
	}
	return nil
}

// planNote says how far what a plan shows is not so yet.
func planNote(round publisher.Round) string {
	switch {
	case round.StateMissing:
		return "not published yet; this is what issuer-sync publish would do:"
	case round.Pending():
		return "a round is due; this is how it will leave the keys:"
	default:
		return ""
	}
}

// printStatus prints an issuer's keys as a table below the note, and what is
// wrong below that.
func printStatus(w io.Writer, round publisher.Round, now time.Time, note string) {
	fmt.Fprintf(w, "issuer %s at %s\n", round.Issuer, round.Time.Format(time.RFC3339))
	if note != "" {
		fmt.Fprintf(w, "  %s\n", note)
	}
	printKeys(w, round, now)
	for _, source := range round.Sources {
		fmt.Fprintf(w, "  source  %s: %s\n", source.Origin, sourceOutcome(source))
	}
	for _, store := range round.Stores {
		fmt.Fprintf(w, "  store   %s: %s\n", store.Store, storeOutcome(store))
	}
	if round.Outside != nil {
		fmt.Fprintf(w, "  outside %s\n", outsideOutcome(*round.Outside))
	}
	printTroubles(w, round)
}

func printKeys(w io.Writer, round publisher.Round, now time.Time) {
	if len(round.Keys) == 0 {
		return
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  KEY ID\tALG\tPHASE\tPUBLISHED\tSHOWN BY\tSIGNS AT\tFIRST SIGNED\tNEXT")
	for _, key := range round.Keys {
		fmt.Fprintf(table, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", key.ID, key.Algorithm, key.Phase,
			ago(key.Published, now), count(key.Shown, len(round.Sources)), count(key.Signing, signers(round)), ago(key.Signs, now), next(key, now))
	}
	table.Flush() //nolint:errcheck // the next line to w meets the same error
}

func ago(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04") + " (" + short(now.Sub(t)) + ")"
}

// count says at how many of all places something is so.
func count(places []string, of int) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%d of %d", len(places), of)
}

// signers returns the number of places whose signing key is known.
func signers(round publisher.Round) (n int) {
	for _, key := range round.Keys {
		n += len(key.Signing)
	}
	return n
}

// next says what becomes of a key, and when.
func next(key publisher.KeyResult, now time.Time) string {
	lacking := ""
	if len(key.Lacking) > 0 {
		lacking = fmt.Sprintf("; missing at %d of its API servers", len(key.Lacking))
	}
	if key.Until.IsZero() {
		switch {
		case key.Phase == keys.Waiting:
			return "may sign once every store holds it and the wait is over" + lacking
		case key.Phase == keys.Revoked:
			return "kept out while it is shown"
		case lacking != "":
			return strings.TrimPrefix(lacking, "; ")
		default:
			return "-"
		}
	}
	what := map[string]string{"waiting": "may sign", "retiring": "leaves", "revoked": "forgotten"}[string(key.Phase)]
	if !key.Until.After(now) {
		return what + " when it is safe; see below"
	}
	return fmt.Sprintf("%s %s (in %s)%s", what, key.Until.UTC().Format("2006-01-02 15:04"), short(key.Until.Sub(now)), lacking)
}

// short is a duration in its two largest units.
func short(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	day := 24 * time.Hour
	switch {
	case d >= day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	default:
		return d.Truncate(time.Second).String()
	}
}

// printTroubles prints alarms, warnings and faults.
func printTroubles(w io.Writer, round publisher.Round) {
	for _, alarm := range round.Alarms {
		fmt.Fprintf(w, "  ALARM   %s: %s\n", alarm.Kind, strings.ReplaceAll(alarm.Text, "\n", " "))
	}
	for _, warning := range round.Warnings {
		fmt.Fprintf(w, "  warning %s\n", warning)
	}
	for _, fault := range round.Faults {
		fmt.Fprintf(w, "  FAILED  %s: %s\n", fault.Part, fault.Error)
	}
}
