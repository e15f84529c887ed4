package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/issuer-sync/issuer-sync/internal/accounts"
	"github.com/issuer-sync/issuer-sync/internal/admission"
	"github.com/issuer-sync/issuer-sync/internal/command"
	"github.com/issuer-sync/issuer-sync/internal/httpserver"
	"github.com/issuer-sync/issuer-sync/internal/kube"
	"github.com/issuer-sync/issuer-sync/internal/settings"
)

func newRunCommand(env environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Serve the webhook (what happens without a subcommand too)",
		Long: `Answers the API server's reviews of new pods, keeps the ServiceAccounts'
annotations in memory, and makes and rotates its certificate unless told otherwise.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := loadConfig(cmd.Flags(), env.lookup)
			if err != nil {
				return err
			}
			log, err := command.NewLogger(cmd.ErrOrStderr(), config.Log.Level, config.Log.Format)
			if err != nil {
				return err
			}
			env.warnOfUnknown(log)
			if config.Namespace == "" {
				// POD_NAMESPACE was read with the settings.
				if config.Namespace, err = kube.PodNamespace(environment{}.lookup); err != nil {
					return fmt.Errorf("--namespace is empty, and so is that of this pod: %w; want the namespace of the webhook", err)
				}
			}
			s, err := newService(config, log)
			if err != nil {
				return err
			}
			return command.Failed(s.run(cmd.Context()))
		},
	}
	settings.Bind(cmd.Flags(), serverSettings())
	return cmd
}

// service is everything that run runs.
type service struct {
	config      config
	log         *slog.Logger
	registry    *prometheus.Registry
	accounts    *accounts.Cache
	certificate certificate
	version     func(context.Context) (kube.Version, error) // of the API server
	unanswered  atomic.Pointer[error]                       // why version has not told it; nil: it was not asked, or has
	listening   atomic.Pointer[string]                      // where reviews are answered; nil: nowhere yet
}

func newService(config config, log *slog.Logger) (*service, error) {
	s := &service{config: config, log: log, registry: prometheus.NewRegistry()}
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	reached, err := kube.Config(kube.Connection{
		Kubeconfig: config.Cluster.Kubeconfig, Context: config.Cluster.Context, UserAgent: "issuer-sync-webhook",
	})
	if err != nil {
		return nil, err
	}
	client, err := kube.NewClient(reached)
	if err != nil {
		return nil, fmt.Errorf("making a client for the API server: %w", err)
	}
	s.version = func(ctx context.Context) (kube.Version, error) {
		version, err := kube.ServerVersion(ctx, client)
		s.unanswered.Store(nil)
		if err != nil {
			s.unanswered.Store(&err)
		}
		return version, err
	}
	if s.accounts, err = accounts.New(accounts.Config{Cluster: reached, Wait: config.ServiceAccountWait, Log: log}); err != nil {
		return nil, err
	}
	if s.certificate, err = newCertificate(config, client, log); err != nil {
		return nil, err
	}
	registerMetrics(s.registry, s.certificate, s.accounts)
	return s, nil
}

// run starts everything and waits for everything.
func (s *service) run(ctx context.Context) error {
	servers, err := s.listen(ctx)
	if err != nil {
		return err
	}
	serving, ctx := errgroup.WithContext(ctx)
	for _, server := range servers {
		serving.Go(func() error { return server.Run(ctx) })
	}
	serving.Go(func() error { return s.answer(ctx) })
	// What answers depend on goes on until the last one is given.
	depended, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var keeping errgroup.Group
	keeping.Go(func() error { return s.accounts.Run(depended) })
	keeping.Go(func() error { return s.certificate.run(depended) })
	err = serving.Wait()
	stop()
	err = errors.Join(err, keeping.Wait())
	s.log.Info("stopped")
	return err
}

// listen opens what kubelet and Prometheus ask.
func (s *service) listen(ctx context.Context) ([]*httpserver.Server, error) {
	health, metrics := http.NewServeMux(), http.NewServeMux()
	httpserver.Health(health, s.ready)
	metrics.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	linger := s.config.Serve.Linger
	return httpserver.ListenAll(ctx,
		httpserver.Config{Name: "health", Address: s.config.Health.Address, Handler: health, Log: s.log, Linger: linger},
		httpserver.Config{Name: "metrics", Address: s.config.Metrics.Address, Handler: metrics, Log: s.log, Linger: linger},
	)
}

// idleTimeout is longer than the 90 s after which API servers close an idle
// connection (k8s.io/apimachinery/pkg/util/net, SetTransportDefaults, and
// net/http's default): they repeat no review.
const idleTimeout = 2 * time.Minute

// answer serves reviews, as soon as it is known how.
func (s *service) answer(ctx context.Context) error {
	plain, err := plainSidecar(ctx, s.config.Proxy.NativeSidecar, s.version, s.log)
	if err != nil {
		return nil //nolint:nilerr // it was told to stop before it began
	}
	mutator, err := s.config.mutator(plain)
	if err != nil {
		return err
	}
	minVersion, _ := tlsVersion(s.config.Serve.TLSMinVersion)
	server, err := httpserver.Listen(ctx, httpserver.Config{
		Name: "webhook", Address: s.config.Serve.Address, Linger: s.config.Serve.Linger, Log: s.log,
		GetCertificate: s.certificate.get, MinTLSVersion: minVersion, IdleTimeout: idleTimeout,
		Handler: admission.NewHandler(admission.Config{
			Mutator: mutator, Identities: s.accounts, Metrics: admission.NewMetrics(s.registry), Log: s.log,
		}),
	})
	if err != nil {
		return err
	}
	s.listening.Store(new(server.Address()))
	return server.Run(ctx)
}
