package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/issuer-sync/issuer-sync/internal/command"
	"github.com/issuer-sync/issuer-sync/internal/httpserver"
	"github.com/issuer-sync/issuer-sync/internal/metadata"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/internal/source"
	"github.com/issuer-sync/issuer-sync/internal/store/directory"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

func newDemoCommand(lookup lookupFunc) *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole story on this machine: no cluster, no cloud, nothing left behind",
		Long: `Makes a signing key as a cluster has it, publishes its documents over an HTTPS
server of its own, and gives a pod's token to the proxy, which exchanges it at a
stand-in for Entra, as for an SDK that knows only the metadata endpoint. Then it
rotates the key while tokens are exchanged all the time, and none fails.

The publisher, the server and the proxy are the real ones. The cluster and Entra
are stand-ins; access tokens of the demo open nothing.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := loadLogConfig(cmd.Flags(), lookup)
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("log-level") {
				config.Level = "error" // the demo tells its own story
			}
			log, err := command.NewLogger(cmd.ErrOrStderr(), config.Level, config.Format)
			if err != nil {
				return err
			}
			return command.Failed(runDemo(cmd.Context(), cmd.OutOrStdout(), log, keep))
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "stay up at the end and print curl lines, until interrupted")
	return cmd
}

// demo is one run: the real publisher, watching a real directory of key files,
// behind the real server, and the proxy's real endpoint before a stand-in for Entra.
type demo struct {
	out       io.Writer
	log       *slog.Logger
	start     time.Time
	directory string
	authority *demoAuthority
	server    *httpserver.Server
	handler   *oidc.Handler
	issuer    oidc.Issuer
	published chan keys.Set // the set that is served now, unless somebody took it
	pod       *demoPod
}

func runDemo(ctx context.Context, out io.Writer, log *slog.Logger, keep bool) (err error) {
	d := &demo{out: out, log: log, start: time.Now(), published: make(chan keys.Set, 1)}
	if d.directory, err = os.MkdirTemp("", "issuer-sync-demo-"); err != nil {
		return fmt.Errorf("making a directory for the demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(d.directory)) }()
	ctx, stop := context.WithCancel(ctx)
	running, ctx := errgroup.WithContext(ctx)
	defer func() {
		stop()
		err = errors.Join(err, running.Wait())
	}()
	if err := d.serve(ctx, running); err != nil {
		return err
	}
	if err := d.story(ctx, running); err != nil {
		return err
	}
	if keep {
		d.explain()
		<-ctx.Done()
	}
	return nil
}

// say prints one step with the time since the start.
func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "%6d ms  %s\n", time.Since(d.start).Milliseconds(), fmt.Sprintf(format, args...))
}

// serve starts the HTTPS server; its address is the issuer.
func (d *demo) serve(ctx context.Context, running *errgroup.Group) (err error) {
	if d.authority, err = newDemoAuthority(d.directory); err != nil {
		return err
	}
	d.server, err = httpserver.Listen(ctx, httpserver.Config{
		Name: "documents", Address: "127.0.0.1:0", GetCertificate: d.authority.Get, Log: d.log,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.handler.ServeHTTP(w, r) }),
	})
	if err != nil {
		return err
	}
	if d.issuer, err = oidc.ParseIssuer("https://" + d.server.Address()); err != nil {
		return err
	}
	if d.handler, err = oidc.NewHandler(d.issuer); err != nil {
		return err
	}
	running.Go(func() error { return d.server.Run(ctx) })
	return nil
}

func (d *demo) story(ctx context.Context, running *errgroup.Group) error {
	oldKey, err := d.makeKey("old.pub")
	if err != nil {
		return err
	}
	if err := d.publish(ctx, running); err != nil {
		return err
	}
	if err := d.look(ctx); err != nil {
		return err
	}
	if d.pod, err = d.startPod(ctx, running, oldKey); err != nil {
		return err
	}
	if err := d.first(ctx); err != nil {
		return err
	}
	return d.rotate(ctx)
}

// first gets an access token as an old SDK does.
func (d *demo) first(ctx context.Context) error {
	token, err := d.pod.ask(ctx, "https://vault.azure.net")
	if err != nil {
		return err
	}
	d.say("asked the proxy for %s as an old SDK does: an access token for %s, valid for %s s", token.Resource, token.ClientID, token.ExpiresIn)
	return nil
}

// rotate changes the signing key while tokens are exchanged without a pause.
func (d *demo) rotate(ctx context.Context) error {
	load := d.pod.load(ctx)
	newKey, err := d.makeKey("new.pub")
	if err != nil {
		return load.stop(err)
	}
	if err := d.await(ctx, 2); err != nil {
		return load.stop(err)
	}
	d.say("the file watch saw it: both keys are published, before the new one signs")
	if err := load.more(ctx); err != nil {
		return load.stop(err)
	}
	if err := d.pod.project(newKey); err != nil {
		return load.stop(err)
	}
	d.say("the API server signs with the new key: the pod's token file was replaced")
	if err := load.more(ctx); err != nil {
		return load.stop(err)
	}
	if err := load.stop(nil); err != nil {
		return err
	}
	d.say("done: a key was rotated, %d exchanges meanwhile, none failed", load.exchanges)
	return nil
}

// makeKey makes a signing key and puts its public half where the publisher
// looks, as a control plane node has /etc/kubernetes/pki/sa.pub.
func (d *demo) makeKey(file string) (*rsa.PrivateKey, error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("making a signing key: %w", err)
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return nil, fmt.Errorf("encoding the public key: %w", err)
	}
	name := filepath.Join(d.directory, file)
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		return nil, fmt.Errorf("writing the public key: %w", err)
	}
	key, err := keys.New(private.Public())
	if err != nil {
		return nil, err
	}
	d.say("made a signing key, as kube-apiserver has one: key ID %s", key.ID)
	return private, nil
}

func (d *demo) publish(ctx context.Context, running *errgroup.Group) error {
	files, err := source.NewFiles([]string{filepath.Join(d.directory, "*.pub")}, d.log)
	if err != nil {
		return err
	}
	store, err := directory.New(filepath.Join(d.directory, "www"))
	if err != nil {
		return err
	}
	p := publisher.New(publisher.Config{
		Issuer: d.issuer, Sources: []publisher.Source{files},
		Stores: []publisher.Store{{Name: "directory", Store: store}},
		MaxAge: oidc.DefaultMaxAge, Interval: time.Minute, Log: d.log,
		Policy: keys.Policy{MinimumWait: 24 * time.Hour, Retention: 48 * time.Hour, Max: 50},
		Serve: func(documents oidc.Documents) {
			d.handler.Set(documents)
			select { // the one publisher is the only sender, so there is room afterwards
			case <-d.published:
			default:
			}
			d.published <- documents.Keys
		},
	})
	running.Go(func() error { return p.Run(ctx) })
	if err := d.await(ctx, 1); err != nil {
		return err
	}
	d.say("published the documents: JWK set first, then %s", d.issuer.DiscoveryURL())
	return nil
}

// await waits until n keys are served.
func (d *demo) await(ctx context.Context, n int) error {
	timeout := time.After(10 * time.Second)
	for {
		select {
		case set := <-d.published:
			if set.Len() == n {
				return nil
			}
		case <-timeout:
			return fmt.Errorf("waiting for %d published keys: not within 10 s", n)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// look verifies the documents as issuer-sync verify does.
func (d *demo) look(ctx context.Context) error {
	report := oidc.Verify(ctx, d.issuer, oidc.VerifyOptions{Roots: d.authority.Roots()})
	if report.Failed() {
		printReport(d.out, report)
		return errors.New("the published documents do not pass")
	}
	d.say("looked at them from outside: %s", outsideOutcome(report))
	return nil
}

func (d *demo) explain() {
	fmt.Fprintf(d.out, `
Still serving, until you press Ctrl-C. Try:
  curl --cacert %[1]s %[2]s
  curl --cacert %[1]s %[3]s
  issuer-sync verify --ca-file %[1]s %[4]s
  openssl genrsa 2048 | openssl pkey -pubout -out %[5]s   # publish another key
  curl -H Metadata:true '%[6]s?resource=https://vault.azure.net'

Or with an SDK. The variables of a pod, for those that know workload identity:
  export AZURE_CLIENT_ID=%[7]s AZURE_TENANT_ID=%[8]s
  export AZURE_FEDERATED_TOKEN_FILE=%[9]s
  export AZURE_AUTHORITY_HOST=%[10]s/
  export SSL_CERT_FILE=%[11]s NODE_EXTRA_CA_CERTS=%[11]s REQUESTS_CA_BUNDLE=%[11]s
(Go's azidentity, and all that use MSAL, need the option DisableInstanceDiscovery here: Microsoft does not know this authority.)
and for some of those that know the metadata endpoint alone:
  export AZURE_POD_IDENTITY_AUTHORITY_HOST=%[12]s
`, d.authority.caFile, d.issuer.DiscoveryURL(), d.issuer.JWKSURL(), d.issuer, filepath.Join(d.directory, "another.pub"),
		d.pod.endpoint+metadata.TokenPath, demoClient, demoTenant, d.pod.tokenFile, d.pod.entra.URL(), d.pod.entraCA, d.pod.endpoint)
}
