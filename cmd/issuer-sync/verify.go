package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/issuer-sync/issuer-sync/internal/cluster"
	"github.com/issuer-sync/issuer-sync/internal/command"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// verifyFlags are what users can say to verify.
type verifyFlags struct {
	parties             []string
	tokenFile           string
	serviceAccount      string
	kubeconfig, context string
	audience            string
	caFile, baseURL     string
	output              string
	lookup              lookupFunc
}

func newVerifyCommand(lookup lookupFunc) *cobra.Command {
	flags := verifyFlags{lookup: lookup}
	cmd := &cobra.Command{
		Use:   "verify ISSUER",
		Short: "Check an issuer from outside, as a relying party does",
		Long: `Fetches the issuer's documents as a stranger would and checks what relying
parties check: every check on one line, PASS, WARN, FAIL or SKIP, with the cure.
Exits with 1 if a check fails.

With a token, or a service account to make one for, the token is checked against
the documents too. Tokens are never printed.`,
		Example: `  issuer-sync verify https://contoso.blob.core.windows.net/oidc-prod --for entra,aws
  issuer-sync verify https://oidc.example.com --service-account default/default --kubeconfig ~/.kube/config`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("name the issuer: issuer-sync verify https://oidc.example.com")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := loadLogConfig(cmd.Flags(), lookup)
			if err != nil {
				return err
			}
			log, err := command.NewLogger(cmd.ErrOrStderr(), config.Level, config.Format)
			if err != nil {
				return err
			}
			issuer, options, err := flags.options(cmd.Context(), args[0], log)
			if err != nil {
				return err
			}
			report := oidc.Verify(cmd.Context(), issuer, options)
			if flags.output == "json" {
				err = printJSON(cmd.OutOrStdout(), report)
			} else {
				printReport(cmd.OutOrStdout(), report)
			}
			if err == nil && report.Failed() {
				return &command.Failure{Code: command.ExitFailed}
			}
			return command.Failed(err)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&flags.parties, "for", nil, "relying parties whose limits to check too: entra, aws, gcp")
	f.StringVar(&flags.tokenFile, "token", "", "file with a service account token to check; - for stdin")
	f.StringVar(&flags.serviceAccount, "service-account", "", "NAMESPACE/NAME to request a token for (needs create on serviceaccounts/token)")
	f.StringVar(&flags.kubeconfig, "kubeconfig", "", "kubeconfig for --service-account; default $KUBECONFIG, in a pod the pod's own account, ~/.kube/config")
	f.StringVar(&flags.context, "context", "", "context in the kubeconfig")
	f.StringVar(&flags.audience, "audience", "", "audience the token must have; default for --service-account "+azureAudience+", for --token any single one")
	f.StringVar(&flags.caFile, "ca-file", "", "PEM certificates to trust for a private issuer")
	f.StringVar(&flags.baseURL, "base-url", "", "fetch the documents here instead of at the issuer")
	command.OutputFlag(cmd, &flags.output, "text", "json")
	cmd.RegisterFlagCompletionFunc("for", cobra.FixedCompletions([]string{"entra", "aws", "gcp"}, cobra.ShellCompDirectiveNoFileComp)) //nolint:errcheck // the flag exists
	return cmd
}

// options reads what the flags name. What is wrong with the flags themselves is
// a usage error; what the world refuses is a failure.
func (f verifyFlags) options(ctx context.Context, arg string, log *slog.Logger) (oidc.Issuer, oidc.VerifyOptions, error) {
	options := oidc.VerifyOptions{BaseURL: f.baseURL, Audience: f.audience}
	issuer, err := oidc.ParseIssuer(arg)
	faults := []error{err}
	for _, name := range f.parties {
		party, err := oidc.ParseRelyingParty(name)
		if err != nil {
			err = fmt.Errorf("--for: %w", err)
		}
		faults = append(faults, err)
		options.RelyingParties = append(options.RelyingParties, party)
	}
	if f.caFile != "" {
		options.Roots, err = readCAs(f.caFile)
		faults = append(faults, err)
	}
	kubeconfig, err := f.kubeconfigFile()
	if err := errors.Join(append(faults, f.validate(), err)...); err != nil {
		return issuer, options, err
	}
	switch {
	case f.tokenFile != "":
		options.Token, err = readToken(f.tokenFile)
	case f.serviceAccount != "":
		options.Audience = cmp.Or(f.audience, azureAudience)
		options.Token, err = f.requestToken(ctx, kubeconfig, options.Audience, log)
	}
	return issuer, options, command.Failed(err)
}

// validate reports flags that do not fit each other, or that cannot be.
func (f verifyFlags) validate() error {
	check := new(checker)
	if f.baseURL != "" {
		check.baseURL("--base-url", f.baseURL)
	}
	if f.tokenFile != "" && f.serviceAccount != "" {
		check.fault("--token and --service-account", "give one of them")
	}
	if f.serviceAccount != "" {
		if namespace, name, ok := strings.Cut(f.serviceAccount, "/"); !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
			check.fault("--service-account", "%q; want NAMESPACE/NAME", f.serviceAccount)
		}
	}
	if f.audience != "" && f.tokenFile == "" && f.serviceAccount == "" {
		check.fault("--audience", "there is no token to check; give --token or --service-account too")
	}
	if f.serviceAccount == "" {
		const needless = "no token is requested; give --service-account too"
		if f.kubeconfig != "" {
			check.fault("--kubeconfig", needless)
		}
		if f.context != "" {
			check.fault("--context", needless)
		}
	}
	return check.Err()
}

// azureAudience is what Entra wants in tokens, in the public cloud.
const azureAudience = "api://AzureADTokenExchange"

func readToken(name string) (string, error) {
	if name == "-" {
		name = "/dev/stdin"
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("reading --token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" {
		return "", fmt.Errorf("reading --token: %q is empty", name)
	}
	return token, nil
}

func (f verifyFlags) requestToken(ctx context.Context, kubeconfig, audience string, log *slog.Logger) (string, error) {
	reached, err := cluster.New(cluster.Config{Kubeconfig: kubeconfig, Context: f.context, Log: log})
	if err != nil {
		return "", err
	}
	namespace, name, _ := strings.Cut(f.serviceAccount, "/")
	return reached.Token(ctx, cluster.TokenRequest{
		Namespace: namespace, ServiceAccount: name, Audiences: []string{audience}, Lifetime: 10 * time.Minute,
	})
}

// kubeconfigFile is where kubectl would look, except that in a pod the pod's
// own account, for which it returns "", goes before the home directory.
func (f verifyFlags) kubeconfigFile() (string, error) {
	if f.kubeconfig != "" || f.serviceAccount == "" {
		return f.kubeconfig, nil
	}
	list, _ := f.lookup("KUBECONFIG")
	files := slices.DeleteFunc(filepath.SplitList(list), func(file string) bool { return file == "" })
	switch {
	case len(files) > 1:
		return "", fmt.Errorf("KUBECONFIG: it names %d files; name one of them with --kubeconfig", len(files))
	case len(files) == 1:
		return files[0], nil
	}
	if host, _ := f.lookup("KUBERNETES_SERVICE_HOST"); host != "" {
		return "", nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("finding ~/.kube/config: %w; name a file with --kubeconfig", err)
	}
	return filepath.Join(home, ".kube", "config"), nil
}
