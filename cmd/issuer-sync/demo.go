package main

import (
	"context"
	"crypto"
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

	oidcclient "github.com/coreos/go-oidc/v3/oidc"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/issuer-sync/issuer-sync/internal/command"
	"github.com/issuer-sync/issuer-sync/internal/httpserver"
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
server of its own, signs a token as kube-apiserver signs, verifies it from
outside as a cloud does, rotates the key, and shows that the old and the new
token both verify.`,
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
// behind the real server.
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
	provider  *oidcclient.Provider
	client    *http.Client
}

func runDemo(ctx context.Context, out io.Writer, log *slog.Logger, keep bool) (err error) {
	d := &demo{out: out, log: log, start: time.Now(), published: make(chan keys.Set, 1), client: new(http.Client)}
	if d.directory, err = os.MkdirTemp("", "issuer-sync-demo-"); err != nil {
		return fmt.Errorf("making a directory for the demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(d.directory)) }()
	ctx, stop := context.WithCancel(ctx)
	running, ctx := errgroup.WithContext(ctx)
	defer func() {
		stop()
		d.client.CloseIdleConnections() // or the server waits a second for them
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
	d.client = clientTrusting(d.authority.Roots())
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
	oldToken, err := d.mint(oldKey)
	if err != nil {
		return err
	}
	if err := d.verify(ctx, "the token", oldToken); err != nil {
		return err
	}
	newKey, err := d.makeKey("new.pub")
	if err != nil {
		return err
	}
	if err := d.await(ctx, 2); err != nil {
		return err
	}
	d.say("the file watch saw it: both keys are published, before the new one signs")
	newToken, err := d.mint(newKey)
	if err != nil {
		return err
	}
	if err := d.verify(ctx, "the token of the old key", oldToken); err != nil {
		return err
	}
	if err := d.verify(ctx, "the token of the new key", newToken); err != nil {
		return err
	}
	d.say("done: a key was rotated and no token failed")
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
	provider, err := oidcclient.NewProvider(oidcclient.ClientContext(ctx, d.client), d.issuer.String())
	if err != nil {
		return fmt.Errorf("discovering the issuer with go-oidc: %w", err)
	}
	d.provider = provider
	return nil
}

func (d *demo) mint(private crypto.Signer) (string, error) {
	token, err := demoToken(d.issuer, private)
	if err != nil {
		return "", err
	}
	d.say("signed a token for system:serviceaccount:default:demo, audience %s", azureAudience)
	return token, nil
}

// verify does what a cloud does with a token: it knows nothing but the issuer.
func (d *demo) verify(ctx context.Context, what, token string) error {
	ctx = oidcclient.ClientContext(ctx, d.client)
	verified, err := d.provider.VerifierContext(ctx, &oidcclient.Config{ClientID: azureAudience}).Verify(ctx, token)
	if err != nil {
		return fmt.Errorf("verifying %s with go-oidc: %w", what, err)
	}
	d.say("verified %s as a cloud would: subject %s", what, verified.Subject)
	return nil
}

func (d *demo) explain() {
	fmt.Fprintf(d.out, `
Still serving, until you press Ctrl-C. Try:
  curl --cacert %[1]s %[2]s
  curl --cacert %[1]s %[3]s
  issuer-sync verify --ca-file %[1]s %[4]s
  openssl genrsa 2048 | openssl pkey -pubout -out %[5]s   # publish another key
`, d.authority.caFile, d.issuer.DiscoveryURL(), d.issuer.JWKSURL(), d.issuer,
		filepath.Join(d.directory, "another.pub"))
}
