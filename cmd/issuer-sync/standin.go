package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/issuer-sync/issuer-sync/internal/command"
	"github.com/issuer-sync/issuer-sync/internal/entra"
	"github.com/issuer-sync/issuer-sync/internal/httpserver"
	"github.com/issuer-sync/issuer-sync/pkg/exchange"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// standInFlags are what users can say to stand-in.
type standInFlags struct {
	listen, url       string
	anywhere          bool
	certFile, keyFile string
	caFile            string
	apps              []string
}

func newStandInCommand(lookup lookupFunc) *cobra.Command {
	var flags standInFlags
	cmd := &cobra.Command{
		Use:   "stand-in",
		Short: "Serve a stand-in for Microsoft Entra, for clusters without Azure",
		Long: `Serves a stand-in for the token endpoint of Microsoft Entra, to try things out
where there is no Azure account. It is not Entra, and its access tokens open
nothing in Azure: only who trusts the stand-in's own keys takes them for tokens.

It does with a token what Entra does: it finds the federated credential, fetches
the issuer's documents, verifies, and answers with an access token or with
Entra's error. It writes one log line for each request, and never a token.

The identities are those of --app. An --app with the tenant and client of another
is one more federated credential of that identity. SDKs with default options find
the stand-in if it is what login.microsoftonline.com resolves to, and its
certificate and --url say so.`,
		Example: `  issuer-sync stand-in --url https://login.microsoftonline.com --tls-cert-file tls.crt --tls-key-file tls.key --ca-file ca.crt \
    --app tenant=11111111-1111-1111-1111-111111111111,client=22222222-2222-2222-2222-222222222222,issuer=https://oidc.example.com,subject=system:serviceaccount:default:app`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := loadLogConfig(cmd.Flags(), lookup)
			if err != nil {
				return err
			}
			log, err := command.NewLogger(cmd.ErrOrStderr(), config.Level, config.Format)
			if err != nil {
				return err
			}
			where, what, err := flags.parse(log)
			if err != nil {
				return err
			}
			return command.Failed(runStandIn(cmd.Context(), where, what))
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.listen, "listen", "127.0.0.1:8443", "IP:port to listen on; on loopback, unless --anywhere")
	f.BoolVar(&flags.anywhere, "anywhere", false, "allow any address: whoever reaches the stand-in gets what the --app list grants")
	f.StringVar(&flags.url, "url", "", "where clients reach it, the authority host: its documents and access tokens name it (required)")
	f.StringVar(&flags.certFile, "tls-cert-file", "", "PEM certificate for the host of --url (required)")
	f.StringVar(&flags.keyFile, "tls-key-file", "", "PEM key of that certificate (required)")
	f.StringVar(&flags.caFile, "ca-file", "", "PEM certificates to trust for issuers; default the system's")
	f.StringArrayVar(&flags.apps, "app", nil, "an identity and its federated credential: "+appForm+"; may be repeated (required)")
	return cmd
}

// appForm is what --app wants.
const appForm = "tenant=GUID,client=GUID,issuer=URL,subject=S[,audience=A]"

// parse reads the flags and the files that they name, and reports every mistake.
func (f standInFlags) parse(log *slog.Logger) (entra.ListenConfig, entra.Config, error) {
	where := entra.ListenConfig{Address: f.listen, Anywhere: f.anywhere}
	what := entra.Config{URL: f.url, Log: log}
	check := new(checker)
	if err := where.Validate(); err != nil {
		check.fault("--listen", "%v; --anywhere allows any other", err)
	}
	f.checkURL(check)
	var err error
	if f.certFile == "" || f.keyFile == "" {
		check.fault("--tls-cert-file and --tls-key-file", "%q and %q; want a certificate and its key, both", f.certFile, f.keyFile)
	} else if certificate, err := httpserver.NewCertificate(f.certFile, f.keyFile, log); err != nil {
		check.fault("--tls-cert-file and --tls-key-file", "%v", err)
	} else {
		where.GetCertificate = certificate.Get
	}
	if what.Roots, err = f.roots(); err != nil {
		check.fault("--ca-file", "%v", err)
	}
	if len(f.apps) == 0 {
		check.fault("--app", "there is none; want "+appForm)
	}
	for _, text := range f.apps {
		app, err := parseApp(text)
		if err != nil {
			check.fault("--app", "%q: %v", text, err)
		}
		what.Apps = addApp(what.Apps, app)
	}
	return where, what, check.Err()
}

func (f standInFlags) checkURL(check *checker) {
	u := check.url("--url", f.url, "https")
	if u != nil && (strings.Trim(u.Path, "/") != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "") {
		shown := (&url.URL{Scheme: u.Scheme, Host: u.Host}).String()
		check.fault("--url", "%q has more than a host and a port; want %q", u.Redacted(), shown)
	}
}

// roots is nil for the system's.
func (f standInFlags) roots() (*x509.CertPool, error) {
	if f.caFile == "" {
		return nil, nil //nolint:nilnil // nil is what crypto/x509 has for the system's
	}
	return readCAs(f.caFile)
}

// parseApp reads one --app.
func parseApp(text string) (entra.App, error) {
	values, seen := map[string]string{"audience": azureAudience}, make(map[string]bool)
	for field := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(field, "=")
		if seen[name] {
			return entra.App{}, fmt.Errorf("field %q: it is there twice; want %s", name, appForm)
		}
		seen[name] = true
		switch name {
		case "tenant", "client", "issuer", "subject", "audience":
			values[name] = value
		default:
			return entra.App{}, fmt.Errorf("field %q; want %s", name, appForm)
		}
	}
	credential := entra.Credential{Issuer: values["issuer"], Subject: values["subject"], Audience: values["audience"]}
	_, err := oidc.ParseIssuer(credential.Issuer)
	if err = cmp.Or(exchange.CheckTenant(values["tenant"]), exchange.CheckClient(values["client"]), err); err != nil {
		return entra.App{}, err
	}
	if credential.Subject == "" || credential.Audience == "" {
		return entra.App{}, fmt.Errorf("subject %q, audience %q: want neither empty", credential.Subject, credential.Audience)
	}
	return entra.App{Tenant: values["tenant"], Client: values["client"], Credentials: []entra.Credential{credential}}, nil
}

// addApp adds an identity, or its credential to the identity that is there.
func addApp(apps []entra.App, app entra.App) []entra.App {
	for i := range apps {
		if strings.EqualFold(apps[i].Tenant, app.Tenant) && strings.EqualFold(apps[i].Client, app.Client) {
			apps[i].Credentials = append(apps[i].Credentials, app.Credentials...)
			return apps
		}
	}
	return append(apps, app)
}

// runStandIn serves until ctx ends and requests under way are answered.
func runStandIn(ctx context.Context, where entra.ListenConfig, what entra.Config) error {
	server, err := entra.Listen(ctx, where, what)
	if err != nil {
		return err
	}
	for _, app := range what.Apps {
		for _, credential := range app.Credentials {
			what.Log.Info("knows an identity", "tenant", app.Tenant, "client_id", app.Client,
				"issuer", credential.Issuer, "subject", credential.Subject, "audience", credential.Audience)
		}
	}
	what.Log.Warn("this is a stand-in for Microsoft Entra: its access tokens open nothing in Azure", "url", server.URL())
	err = server.Run(ctx)
	what.Log.Info("stopped")
	return err
}
