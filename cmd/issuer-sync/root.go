package main

import (
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
		newRevokeCommand(lookup), newJWKSCommand(), newVerifyCommand(lookup), newStandInCommand(lookup))
	return root
}

// indent puts the prefix before each line.
func indent(prefix, text string) string {
	return prefix + strings.ReplaceAll(text, "\n", "\n"+prefix)
}
