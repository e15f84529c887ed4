package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/issuer-sync/issuer-sync/internal/command"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
)

func newRevokeCommand(lookup lookupFunc) *cobra.Command {
	var issuer, output string
	var yes, undo bool
	cmd := &cobra.Command{
		Use:   "revoke --issuer URL [flags] [--] KID",
		Short: "Take a key out of the published documents at once, and keep it out",
		Long: `For a signing key that somebody else may have. Takes the key with the ID KID out
of the documents in every store at once, without the wait of a rotation, and
keeps it out for as long as any source still shows it. Pods that hold tokens of
that key fail until kubelet has fetched new ones. Processes of issuer-sync run
that serve the documents themselves follow with their next round.

First let the API servers sign with another key, and remove this one from them:
they go on signing with it, and accepting it, whatever is published.

Asks for the key ID again before it does anything, unless --yes is given. A key
ID that begins with "-" goes behind "--".`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, c, err := revoker(cmd, lookup, issuer)
			if err != nil {
				return err
			}
			r := publisher.Revocation{ID: args[0], Undo: undo}
			if err := p.CheckRevoke(cmd.Context(), r); err != nil {
				return command.Failed(fmt.Errorf("revoking: %w", err))
			}
			if !undo {
				fmt.Fprint(cmd.ErrOrStderr(), exposure(r.ID, c))
			}
			if !yes {
				if err := confirm(cmd.InOrStdin(), cmd.ErrOrStderr(), r.ID); err != nil {
					return command.Failed(err)
				}
			}
			round, err := p.Revoke(cmd.Context(), r)
			if err != nil {
				return command.Failed(fmt.Errorf("revoking: %w", err))
			}
			return revoked{r, round}.report(cmd.OutOrStdout(), output)
		},
	}
	cmd.Flags().StringVar(&issuer, "issuer", "", "the issuer, as the configuration has it; may be left out if there is only one")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&undo, "undo", false, "take back a revocation: publish the key again")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return fmt.Errorf(`%w; a key ID that begins with "-" goes behind "--"`, err)
	})
	command.OutputFlag(cmd, &output, "text", "json")
	bindFlags(cmd.Flags(), documentSettings())
	return cmd
}

// revoker returns the publisher of one issuer; what is wrong with the others
// must not keep anybody from revoking.
func revoker(cmd *cobra.Command, lookup lookupFunc, url string) (*publisher.Publisher, exposed, error) {
	c, b, err := configure(cmd, lookup, builder{})
	if err != nil {
		return nil, exposed{}, err
	}
	at, err := c.issuer(url)
	if err != nil {
		return nil, exposed{}, err
	}
	issuers, err := c.issuers()
	if err != nil {
		return nil, exposed{}, err
	}
	p, err := b.publisher(c.Issuers[at], issuers)
	return p, exposed{c.Serve.MaxAge, c.Issuers[at].Interval}, err
}

// issuer returns the number of the issuer with the URL.
func (c config) issuer(url string) (int, error) {
	var known []string
	for i, issuer := range c.Issuers {
		if issuer.URL == url || url == "" && len(c.Issuers) == 1 {
			return i, nil
		}
		known = append(known, issuer.URL)
	}
	return 0, fmt.Errorf("--issuer: %q is not configured; want one of %s", url, strings.Join(known, ", "))
}

// exposed are the times for which a revoked key goes on being shown.
type exposed struct {
	maxAge, interval time.Duration
}

// exposure says what revoking does not undo.
func exposure(id string, e exposed) string {
	return fmt.Sprintf(`Revoking key %s. What this does not undo:
  API servers      go on signing with the key, and accepting it, until it is removed from them: do that first
  issuer-sync run  where it serves documents itself: shows the key until its next round, in up to %s
  caches, CDNs     show the old key set for up to %s (max-age)
  Entra ID         was seen to notice a changed key set between at once and 10 minutes, and promises nothing
  AWS, GCP         keep key sets for a time that they do not document
  go-oidc, Vault   keep a key that they know until an unknown key makes them fetch again, or a restart
  access tokens    that clouds gave in exchange stay valid until they expire, often an hour
`, id, e.interval, e.maxAge)
}

// confirm lets the operator type the key ID a second time.
func confirm(in io.Reader, out io.Writer, id string) error {
	fmt.Fprint(out, "Type the key ID again to revoke it: ")
	line, err := bufio.NewReader(io.LimitReader(in, 4<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if answer := strings.TrimSpace(line); answer != id {
		return fmt.Errorf("nothing was revoked: the answer %q is not the key ID %q; without a terminal, use --yes", answer, id)
	}
	return nil
}

// revoked is a revocation, or one that was taken back, and its round.
type revoked struct {
	publisher.Revocation
	round publisher.Round
}

func (r revoked) report(w io.Writer, output string) error {
	if output == "json" {
		if err := printJSON(w, r.round); err != nil {
			return command.Failed(err)
		}
	} else {
		r.print(w)
	}
	if err := r.round.Err(); err != nil {
		return command.Failed(fmt.Errorf("done in the state, but not everywhere in the documents; run and publish go on trying: %w", err))
	}
	return nil
}

func (r revoked) print(w io.Writer) {
	printRound(w, r.round)
	said := "revoked; it is kept out while any source shows it"
	if r.Undo {
		said = "the revocation is taken back"
	}
	fmt.Fprintf(w, "  %s. See: issuer-sync status\n", said)
}
