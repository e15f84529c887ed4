package main

import (
	"github.com/spf13/cobra"

	"github.com/issuer-sync/issuer-sync/internal/settings"
)

// newRootCommand returns the program; environ is its environment, as os.Environ
// gives it. Without a subcommand it serves, as the
// containers of azure-workload-identity call it.
func newRootCommand(environ []string) *cobra.Command {
	env := newEnvironment(environ)
	serve := newRunCommand(env)
	root := &cobra.Command{
		Use:   "webhook",
		Short: "Give pods that ask for an Azure identity what SDKs look for",
		Long: `webhook is a mutating admission webhook. A pod with the label
azure.workload.identity/use: "true" gets a projected token of its ServiceAccount,
the variables that Azure's SDKs read, and if it asks for one, a proxy that answers
the metadata endpoint. Without a subcommand it serves, as "webhook run" does.

Exit codes: 0 good, 1 an operation failed or the pod is refused, 2 wrong usage or
configuration.`,
		Version: version,
		Args:    cobra.NoArgs,
		RunE:    serve.RunE,
	}
	all := append(podSettings(), logSettings()...)
	settings.Bind(root.PersistentFlags(), append(all, configSetting()))
	settings.Bind(root.Flags(), serverSettings())
	root.AddCommand(serve, newMutateCommand(env.lookup))
	return root
}
