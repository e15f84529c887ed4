package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/issuer-sync/issuer-sync/internal/command"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
)

// planPatience is how long a dry run waits for slow sources and stores.
const planPatience = 30 * time.Second

// publishFlags are what publish is asked for.
type publishFlags struct {
	dryRun       bool
	output       string
	acceptShrink []string
}

func newPublishCommand(lookup lookupFunc) *cobra.Command {
	var f publishFlags
	cmd := &cobra.Command{
		Use:   "publish",
		Short: "Publish once: for cron, and to bootstrap a cluster",
		Long: `Does one round for every configured issuer: reads the keys, publishes what is
new, and looks at the result from outside. Exits with 1 if anything could not be
read, written or seen from outside. Keys that the sources no longer show leave
when their retention is over; if more than half would leave at once they stay,
until --accept-shrink names them.

With --dry-run nothing is written, and the exit code is 3 if anything would be.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			publishers, err := configured(cmd, lookup, builder{acceptShrink: f.acceptShrink})
			if err != nil {
				return err
			}
			return f.publishOnce(cmd, publishers)
		},
	}
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "write nothing; exit with 3 if anything would be written")
	cmd.Flags().StringSliceVar(&f.acceptShrink, "accept-shrink", nil, "IDs of keys that may leave although more than half of the keys leave with them; only those whose retention is over do")
	command.OutputFlag(cmd, &f.output, "text", "json")
	bindFlags(cmd.Flags(), documentSettings())
	return cmd
}

// configured returns the publishers of a command that works on stores.
func configured(cmd *cobra.Command, lookup lookupFunc, b builder) ([]*publisher.Publisher, error) {
	_, b, err := configure(cmd, lookup, b)
	if err != nil {
		return nil, err
	}
	return b.publishers()
}

// configure completes the builder of a command that works on stores.
func configure(cmd *cobra.Command, lookup lookupFunc, b builder) (config, builder, error) {
	loaded, err := loadConfig(cmd.Flags(), lookup)
	if err != nil {
		return config{}, b, err
	}
	for i, issuer := range loaded.Issuers {
		if len(issuer.Stores) == 0 {
			return config{}, b, fmt.Errorf("%s works on stores; issuers[%d].stores has none", cmd.Name(), i)
		}
	}
	b.config, b.lookup = loaded, lookup
	b.log, err = command.NewLogger(cmd.ErrOrStderr(), loaded.Log.Level, loaded.Log.Format)
	return loaded, b, err
}

// whyStays says why a key that may leave did not; "" if it did.
func whyStays(rounds []publisher.Round, id string) string {
	var known []string
	left := false
	for _, round := range rounds {
		for _, key := range round.Keys {
			known = append(known, key.ID)
			if key.ID == id {
				return fmt.Sprintf("it stays: it is %s; only keys whose retention is over leave, and never the last", key.Phase)
			}
		}
		for _, store := range round.Stores {
			left = left || slices.Contains(store.Removed, id)
		}
	}
	if left {
		return ""
	}
	return "no such key; want one of " + strings.Join(known, ", ")
}

func (f publishFlags) publishOnce(cmd *cobra.Command, publishers []*publisher.Publisher) error {
	do := (*publisher.Publisher).Round
	if f.dryRun {
		do = func(p *publisher.Publisher, ctx context.Context) publisher.Round { return p.Plan(ctx, planPatience) }
	}
	rounds := make([]publisher.Round, 0, len(publishers))
	code := 0
	for _, p := range publishers {
		round := do(p, cmd.Context())
		rounds = append(rounds, round)
		switch {
		case round.Err() != nil:
			code = command.ExitFailed
		case f.dryRun && round.Pending() && code == 0:
			code = exitChanges
		}
		if f.output == "text" {
			printRound(cmd.OutOrStdout(), round)
		}
	}
	if f.output == "json" {
		if err := printJSON(cmd.OutOrStdout(), rounds); err != nil {
			return command.Failed(err)
		}
	}
	for _, id := range f.acceptShrink {
		if why := whyStays(rounds, id); why != "" {
			fmt.Fprintf(cmd.ErrOrStderr(), "issuer-sync: --accept-shrink %s: %s\n", id, why)
			code = command.ExitFailed
		}
	}
	if code != 0 {
		return &command.Failure{Code: code, Err: context.Cause(cmd.Context())}
	}
	return nil
}
