package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/issuer-sync/issuer-sync/internal/publisher"
)

func newPublishCommand(lookup lookupFunc) *cobra.Command {
	var dryRun bool
	var output string
	cmd := &cobra.Command{
		Use:   "publish",
		Short: "Publish once: for cron, and to bootstrap a cluster",
		Long: `Does one round for every configured issuer: reads the keys, publishes what is
new, and looks at the result from outside. Exits with 1 if anything could not be
read, written or seen from outside. A key that is published stays published.

With --dry-run nothing is written, and the exit code is 3 if anything would be.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			config, err := loadConfig(cmd.Flags(), lookup)
			if err != nil {
				return err
			}
			for i, issuer := range config.Issuers {
				if len(issuer.Stores) == 0 {
					return fmt.Errorf("publish writes to stores; issuers[%d].stores has none", i)
				}
			}
			log, err := newLogger(cmd.ErrOrStderr(), config.Log)
			if err != nil {
				return err
			}
			publishers, err := builder{config: config, lookup: lookup, log: log}.publishers()
			if err != nil {
				return err
			}
			return publishOnce(cmd, publishers, dryRun, output)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "write nothing; exit with 3 if anything would be written")
	outputFlag(cmd, &output)
	return cmd
}

func publishOnce(cmd *cobra.Command, publishers []*publisher.Publisher, dryRun bool, output string) error {
	do := (*publisher.Publisher).Round
	if dryRun {
		do = (*publisher.Publisher).Plan
	}
	rounds := make([]publisher.Round, 0, len(publishers))
	code := 0
	for _, p := range publishers {
		round := do(p, cmd.Context())
		rounds = append(rounds, round)
		switch {
		case round.Err() != nil:
			code = exitFailed
		case round.Pending() && code == 0:
			code = exitChanges
		}
		if output == "text" {
			printRound(cmd.OutOrStdout(), round)
		}
	}
	if output == "json" {
		if err := printJSON(cmd.OutOrStdout(), rounds); err != nil {
			return failed(err)
		}
	}
	if code != 0 {
		return &failure{code: code, err: context.Cause(cmd.Context())}
	}
	return nil
}
