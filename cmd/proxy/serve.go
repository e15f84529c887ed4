package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/issuer-sync/issuer-sync/internal/httpserver"
	"github.com/issuer-sync/issuer-sync/internal/metadata"
	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

const (
	defaultPort = "8000"
	// writeTimeout leaves an exchange its time and the answer some.
	writeTimeout = exchange.Timeout + 5*time.Second
	// gcPercent makes the collector run somewhat more often than Go would: every
	// pod has one of these. Under load it saves 1 MB of 15 and costs some 6 %
	// of processor time; 50 would save another, for an eighth.
	gcPercent = 75
	// lastExchange is how long exchanges may go on once the proxy is told to stop:
	// less than the 10 seconds after which httpserver cuts those who wait.
	lastExchange = 8 * time.Second
)

func portSetting() setting {
	return setting{flag: "proxy-port", fallback: defaultPort, usage: "the port that the proxy listens on, on 127.0.0.1 and ::1"}
}

func versionSetting() setting {
	return setting{flag: "version", usage: "print the version, and exit", isSwitch: true}
}

// endpointSettings are the token to exchange, and where.
func endpointSettings() []setting {
	return []setting{
		{env: "AZURE_FEDERATED_TOKEN_FILE", usage: "the projected token; required"},
		{env: "AZURE_ENVIRONMENT", fallback: "AzurePublicCloud", usage: "the cloud, if AZURE_AUTHORITY_HOST is empty: or AzureUSGovernmentCloud or AzureChinaCloud"},
		{env: "AZURE_AUTHORITY_HOST", usage: "where tokens are exchanged; the cloud's if empty"},
		{env: "AZURE_KUBERNETES_TOKEN_PROXY", usage: "an https URL to exchange tokens at instead"},
		{env: "AZURE_KUBERNETES_SNI_NAME", usage: "the name in its certificate"},
		{env: "AZURE_KUBERNETES_CA_FILE", usage: "PEM file with the certificates to trust there"},
		{env: "AZURE_KUBERNETES_CA_DATA", usage: "or these certificates themselves"},
	}
}

func serveCommand() command {
	return command{
		name: "serve",
		does: "answer the metadata endpoint until it is told to stop",
		settings: append([]setting{
			portSetting(),
			{flag: "allowed-client-ids", env: "PROXY_ALLOWED_CLIENT_IDS", usage: "client IDs that requests may name, beside AZURE_CLIENT_ID, with commas between them; any if empty"},
			{flag: "log-level", fallback: "info", usage: "debug, info, warn or error"},
			{flag: "log-format", fallback: "text", usage: "text or json"},
			{flag: "probe", usage: "do what proxy probe does", isSwitch: true},
			versionSetting(),
			{env: "AZURE_TENANT_ID", usage: "the directory of the identities; required"},
			{env: "AZURE_CLIENT_ID", usage: "the identity of requests that name none"},
		}, append(endpointSettings(),
			setting{env: "GOGC", usage: fmt.Sprintf("how much the heap may grow between collections, in percent; %d if empty", gcPercent)},
		)...),
		prepare: prepareServe,
	}
}

func prepareServe(o *options, _, stderr io.Writer) operation {
	lines := join(stderr)
	p := proxy{port: o.port("proxy-port"), lines: lines, log: o.logger(lines)}
	assertions := exchange.TokenFile(o.required("AZURE_FEDERATED_TOKEN_FILE", "the path of the projected token"))
	p.tokens = exchange.Cached(o.client(assertions, p.log), assertions, p.log)
	p.handler = o.handler(p.tokens, p.log)
	if o.text("GOGC") == "" { // else package runtime has heeded it
		debug.SetGCPercent(gcPercent)
	}
	return p.serve
}

// client makes the client of the token endpoint. Its two parts are tried one by
// one, so that each mistake is told with its variable.
func (o *options) client(assertions exchange.Assertions, log *slog.Logger) *exchange.Client {
	config := exchange.Config{
		Authority: o.authority(), Assertions: assertions, Proxy: http.ProxyFromEnvironment, Log: log,
	}
	client, err := exchange.New(config)
	if err != nil {
		o.fault("AZURE_AUTHORITY_HOST", err)
		config.Authority = placeholder
	}
	config.Endpoint = exchange.Endpoint{
		URL:     o.text("AZURE_KUBERNETES_TOKEN_PROXY"),
		SNIName: o.text("AZURE_KUBERNETES_SNI_NAME"),
		CAFile:  o.text("AZURE_KUBERNETES_CA_FILE"),
		CAData:  o.text("AZURE_KUBERNETES_CA_DATA"),
	}
	if config.Endpoint == (exchange.Endpoint{}) {
		return client
	}
	client, err = exchange.New(config)
	o.fault("AZURE_KUBERNETES_TOKEN_PROXY", err)
	return client
}

// placeholder stands for an authority host that cannot be had, so that what is
// beside it is looked at, too (RFC 2606 section 2).
const placeholder = "https://authority.invalid"

// authority is the authority host, or that of the cloud.
func (o *options) authority() string {
	if host := o.text("AZURE_AUTHORITY_HOST"); host != "" {
		return host
	}
	host, err := exchange.Authority(o.text("AZURE_ENVIRONMENT"))
	if err != nil {
		o.fault("AZURE_ENVIRONMENT", err)
		return placeholder
	}
	return host
}

// handler makes the metadata endpoint. Client IDs are tried by themselves, so
// that each mistake is told with its variable.
func (o *options) handler(tokens *exchange.Cache, log *slog.Logger) http.Handler {
	config := metadata.Config{
		Source: tokens, Log: log,
		TenantID: o.required("AZURE_TENANT_ID", "the directory's GUID or domain name"),
		ClientID: o.text("AZURE_CLIENT_ID"), AllowedClientIDs: o.list("allowed-client-ids", "client IDs with commas between them"),
	}
	if config.TenantID != "" {
		o.fault("AZURE_TENANT_ID", exchange.CheckTenant(config.TenantID))
	}
	if config.ClientID != "" {
		o.fault("AZURE_CLIENT_ID", exchange.CheckClient(config.ClientID))
	}
	for _, id := range config.AllowedClientIDs {
		o.fault("allowed-client-ids", exchange.CheckClient(id))
	}
	handler, err := metadata.New(config)
	if err != nil && len(o.faults) == 0 {
		o.faults = append(o.faults, err)
	}
	return handler
}

// proxy is the server with its parts.
type proxy struct {
	port    uint16
	handler http.Handler
	tokens  *exchange.Cache
	lines   *joined
	log     *slog.Logger // writes to lines
}

// serve answers until ctx ends and requests under way have had their time.
func (p proxy) serve(ctx context.Context) error {
	defer p.lines.flush()
	defer p.tokens.Close()
	servers, err := p.listen(ctx)
	if err != nil {
		return err
	}
	p.log.Info("started the proxy", "version", version)
	group, ctx := errgroup.WithContext(ctx)
	for _, server := range servers {
		group.Go(func() error { return server.Run(ctx) })
	}
	drained := make(chan struct{})
	var late sync.WaitGroup
	late.Go(func() { p.endExchanges(ctx, drained) })
	err = group.Wait()
	close(drained)
	late.Wait()
	if err != nil {
		return err
	}
	p.log.Info("stopped the proxy")
	return nil
}

// endExchanges ends those that take too long after ctx has ended: who waits for
// one is answered, and not cut.
func (p proxy) endExchanges(ctx context.Context, drained <-chan struct{}) {
	<-ctx.Done()
	select {
	case <-drained:
	case <-time.After(lastExchange):
		p.tokens.Close()
	}
}

// listen opens all addresses before one is served: who asks whether the proxy
// is ready is not answered before it is.
func (p proxy) listen(ctx context.Context) ([]*httpserver.Server, error) {
	four, err := p.listenOn(ctx, "127.0.0.1")
	if err != nil {
		return nil, err
	}
	six, err := p.listenOn(ctx, "[::1]")
	switch {
	case err == nil:
		return []*httpserver.Server{four, six}, nil
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		p.log.Info("left out ::1, there is no IPv6 here", "err", err)
		return []*httpserver.Server{four}, nil
	default:
		return nil, errors.Join(err, four.Close())
	}
}

func (p proxy) listenOn(ctx context.Context, host string) (*httpserver.Server, error) {
	server, err := httpserver.Listen(ctx, httpserver.Config{
		Name: "the proxy", Address: fmt.Sprintf("%s:%d", host, p.port),
		Handler: p.handler, WriteTimeout: writeTimeout, Log: p.log,
	})
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%w; want --proxy-port to be one that no other container of the pod uses: annotation azure.workload.identity/proxy-sidecar-port sets it", err)
	}
	return server, err
}
