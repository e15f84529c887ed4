package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/issuer-sync/issuer-sync/internal/cluster"
	"github.com/issuer-sync/issuer-sync/internal/command"
	"github.com/issuer-sync/issuer-sync/internal/httpserver"
	"github.com/issuer-sync/issuer-sync/internal/lease"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

func newRunCommand(lookup lookupFunc) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Keep every configured issuer right, and serve the documents",
		Long: `Publishes at start, at every change of a source and at every interval, serves
the documents if serve.address is set, and goes on until it is told to stop. What
is published is served at once after a restart, also while every source is down.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := loadConfig(cmd.Flags(), lookup)
			if err != nil {
				return err
			}
			log, err := command.NewLogger(cmd.ErrOrStderr(), config.Log.Level, config.Log.Format)
			if err != nil {
				return err
			}
			d, err := newDaemon(config, lookup, log)
			if err != nil {
				return err
			}
			return command.Failed(d.run(cmd.Context()))
		},
	}
	bindFlags(cmd.Flags(), serverSettings())
	return cmd
}

// daemon is everything that run runs.
type daemon struct {
	config      config
	log         *slog.Logger
	registry    *prometheus.Registry
	handler     *oidc.Handler // nil: nothing is served
	publishers  []*publisher.Publisher
	status      *statusPage
	readiness   readiness
	certificate *httpserver.Certificate // nil: plain HTTP
	elector     *lease.Elector          // nil: every replica writes
	recorder    *cluster.Recorder       // nil: nobody is told of events
}

func newDaemon(config config, lookup lookupFunc, log *slog.Logger) (*daemon, error) {
	d := &daemon{config: config, log: log, registry: prometheus.NewRegistry(), status: new(statusPage)}
	d.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	issuers, err := config.issuers()
	if err != nil {
		return nil, err
	}
	d.readiness.missing = issuers
	if config.Serve.Address != "" { // else issuers may have equal paths: nobody has to tell them apart
		if d.handler, err = oidc.NewHandler(issuers...); err != nil {
			return nil, err
		}
	}
	if tls := config.Serve.TLS; tls.CertFile != "" {
		if d.certificate, err = httpserver.NewCertificate(tls.CertFile, tls.KeyFile, log); err != nil {
			return nil, err
		}
	}
	if d.elector, err = election(config.LeaderElection, lookup, log, d.elected); err != nil {
		return nil, err
	}
	if d.recorder, err = recorder(lookup, log); err != nil {
		return nil, err
	}
	b := builder{
		config: config, lookup: lookup, log: log, metrics: publisher.NewMetrics(d.registry),
		serve: d.serve, report: d.status.record,
	}
	if d.elector != nil {
		b.leads = d.elector.Leads
	}
	if d.recorder != nil {
		b.event = d.recorder.Event
	}
	d.publishers, err = b.publishers()
	return d, err
}

// elected is told when this process begins to lead, and when it ends.
func (d *daemon) elected(bool) {
	for _, p := range d.publishers {
		p.Notify()
	}
}

// serve takes the documents that an issuer's state says are published.
func (d *daemon) serve(documents oidc.Documents) {
	if d.handler != nil {
		d.handler.Set(documents)
	}
	d.readiness.loaded(documents.Issuer)
}

// run starts everything and waits for everything.
func (d *daemon) run(ctx context.Context) error {
	servers, err := d.listen(ctx)
	if err != nil {
		return err
	}
	running, ctx := errgroup.WithContext(ctx)
	for _, server := range servers {
		running.Go(func() error { return server.Run(ctx) })
	}
	if d.recorder != nil {
		running.Go(func() error { return d.recorder.Run(ctx) })
	}
	if d.elector != nil {
		running.Go(func() error { return d.elector.Run(ctx) })
	}
	for _, p := range d.publishers {
		running.Go(func() error { return p.Run(ctx) })
	}
	err = running.Wait()
	d.log.Info("stopped")
	return err
}

func (d *daemon) listen(ctx context.Context) ([]*httpserver.Server, error) {
	linger := d.config.Serve.Linger
	documents := httpserver.Config{Name: "documents", Address: d.config.Serve.Address, Handler: d.handler, Log: d.log, Linger: linger}
	if d.certificate != nil {
		documents.GetCertificate = d.certificate.Get
	}
	admin := httpserver.Config{Name: "admin", Address: d.config.Admin.Address, Handler: d.admin(), Log: d.log, Linger: linger}
	return httpserver.ListenAll(ctx, documents, admin)
}

// admin is what operators and kubelet ask. Ready means that valid documents
// are loaded and nothing else: a source that is down must not take the issuer
// off the network.
func (d *daemon) admin() http.Handler {
	mux := http.NewServeMux()
	httpserver.Health(mux, d.readiness.err)
	mux.Handle("GET /metrics", promhttp.HandlerFor(d.registry, promhttp.HandlerOpts{}))
	mux.Handle("GET /{$}", d.status)
	return mux
}

// readiness knows which issuers have no documents yet.
type readiness struct {
	mu      sync.Mutex // guards missing
	missing []oidc.Issuer
}

func (r *readiness) loaded(issuer oidc.Issuer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.missing = slices.DeleteFunc(r.missing, func(i oidc.Issuer) bool { return i == issuer })
}

func (r *readiness) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.missing) > 0 {
		return fmt.Errorf("no documents yet: %v", r.missing)
	}
	return nil
}

// statusPage shows the last round of every issuer, as status prints it.
type statusPage struct {
	mu     sync.Mutex // guards rounds
	rounds []publisher.Round
}

func (s *statusPage) record(round publisher.Round) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.rounds {
		if s.rounds[i].Issuer == round.Issuer {
			s.rounds[i] = round
			return
		}
	}
	s.rounds = append(s.rounds, round)
}

// ServeHTTP implements http.Handler.
func (s *statusPage) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	rounds := slices.Clone(s.rounds) // a slow reader must not hold up a round
	s.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if len(rounds) == 0 {
		fmt.Fprintln(w, "no round has ended yet")
	}
	for _, round := range rounds {
		note := ""
		if round.Following {
			note = "another replica leads; this one serves what it publishes:"
		}
		printStatus(w, round, time.Now(), note)
	}
}
