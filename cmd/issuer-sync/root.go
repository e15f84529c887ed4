package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
)

func newRootCommand(lookup lookupFunc) *cobra.Command {
	root := &cobra.Command{
		Use:   "issuer-sync",
		Short: "Make a Kubernetes cluster an OIDC issuer that clouds trust",
		Long: `issuer-sync reads a cluster's service account signing keys, publishes the OIDC
discovery document and the JWK set to Azure Blob storage, a directory, a
ConfigMap or its own HTTPS server, and proves from outside that they work.

Exit codes: 0 good, 1 a check or an operation failed, 2 wrong usage or
configuration, 3 --dry-run found something to write.`,
		Version:       version,
		SilenceErrors: true, // run prints them
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	bindFlags(root.PersistentFlags(), append(logSettings(), configSetting()))
	root.AddCommand(newDemoCommand(lookup), newRunCommand(lookup), newPublishCommand(lookup), newStatusCommand(lookup),
		newRevokeCommand(lookup), newJWKSCommand(), newVerifyCommand(lookup))
	return root
}

// newLogger returns the logger that a valid configuration asks for.
func newLogger(w io.Writer, config logConfig) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(config.Level)); err != nil {
		return nil, err
	}
	options := &slog.HandlerOptions{Level: level}
	if config.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return slog.New(slog.NewTextHandler(w, options)), nil
}

// outputFlag adds -o to a command that prints a report.
func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "text", "output format: text or json")
	cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp)) //nolint:errcheck // the flag exists
}

func checkOutput(output string) error {
	if output != "text" && output != "json" {
		return fmt.Errorf("--output: %q; want text or json", output)
	}
	return nil
}

// indent puts the prefix before each line.
func indent(prefix, text string) string {
	return prefix + strings.ReplaceAll(text, "\n", "\n"+prefix)
}
