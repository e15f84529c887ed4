package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

func tokenCommand() command {
	return command{
		name: "token",
		does: "ask for one access token as this container's variables say, and tell what came of it",
		settings: append([]setting{
			{flag: "resource", fallback: "https://management.azure.com", usage: "what the access token is to be for"},
			{flag: "o", fallback: "text", usage: "text or json"},
			versionSetting(),
			{env: "AZURE_TENANT_ID", usage: "the directory of the identity; required"},
			{env: "AZURE_CLIENT_ID", usage: "the identity; required"},
		}, endpointSettings()...),
		prepare: prepareToken,
	}
}

func prepareToken(o *options, stdout, stderr io.Writer) operation {
	// What the exchange logs is either told here or an attempt that was repeated.
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	assertions := exchange.TokenFile(o.required("AZURE_FEDERATED_TOKEN_FILE", "the path of the projected token: is the pod labelled, and did the webhook see it?"))
	client := o.client(assertions, log)
	request := exchange.Request{
		Tenant: o.required("AZURE_TENANT_ID", "the directory's GUID or domain name"),
		Client: o.required("AZURE_CLIENT_ID", "the client ID of the identity: annotation azure.workload.identity/client-id of the ServiceAccount sets it"),
		Scope:  exchange.Scope(o.text("resource")),
	}
	if request.Tenant != "" {
		o.fault("AZURE_TENANT_ID", exchange.CheckTenant(request.Tenant))
	}
	if request.Client != "" {
		o.fault("AZURE_CLIENT_ID", exchange.CheckClient(request.Client))
	}
	show := printText
	if o.oneOf("o", "text", "json") == "json" {
		show = printJSON
	}
	return func(ctx context.Context) error {
		asked := cmp.Or(o.text("AZURE_KUBERNETES_TOKEN_PROXY"), o.authority())
		token, err := client.AccessToken(ctx, request)
		if err != nil {
			return fmt.Errorf("asking %s for an access token: %w", asked, err)
		}
		return show(stdout, got{
			Tenant: request.Tenant, Client: request.Client, Resource: o.text("resource"),
			Expires: token.ExpiresAt.UTC().Truncate(time.Second), Asked: asked,
		})
	}
}

// got is what is told of an access token; itself it never is.
type got struct {
	Tenant   string    `json:"tenant"`
	Client   string    `json:"client"`
	Resource string    `json:"resource"`
	Expires  time.Time `json:"expires"`
	Asked    string    `json:"asked"`
}

func printJSON(w io.Writer, g got) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(g)
}

func printText(w io.Writer, g got) error {
	_, err := fmt.Fprintf(w, `Got an access token. It is not shown.
  tenant    %s
  client    %s
  resource  %s
  expires   %s, in %s
  asked     %s
`, g.Tenant, g.Client, g.Resource, g.Expires.Format(time.RFC3339), time.Until(g.Expires).Round(time.Second), g.Asked)
	return err
}
