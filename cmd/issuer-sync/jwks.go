package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/issuer-sync/issuer-sync/internal/command"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

func newJWKSCommand() *cobra.Command {
	var files []string
	var output string
	cmd := &cobra.Command{
		Use:   "jwks --public-keys FILE...",
		Short: "Print the JWK set of PEM files",
		Long: `Prints the JWK set of the public keys in PEM files, as kube-apiserver would
serve it. Private keys are refused. Blocks that are left out are told on stderr.`,
		Example: `  issuer-sync jwks --public-keys /etc/kubernetes/pki/sa.pub
  issuer-sync jwks --public-keys old.pub,new.pub --output-file jwks.json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%q: name files with --public-keys: issuer-sync jwks --public-keys %s", args, strings.Join(args, ","))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return errors.New("--public-keys: name at least one PEM file")
			}
			document, err := jwks(files, cmd.ErrOrStderr())
			if err != nil {
				return command.Failed(err)
			}
			if output == "" {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), string(document))
				return command.Failed(err)
			}
			if err := replaceFile(output, append(document, '\n')); err != nil {
				return command.Failed(fmt.Errorf("writing --output-file: %w", err))
			}
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&files, "public-keys", nil, "PEM files with public keys; may be repeated")
	cmd.Flags().StringVar(&output, "output-file", "", "write to this file instead of stdout")
	return cmd
}

// replaceFile puts a file in the place of another, whole or not at all: a web
// server may be serving it.
func replaceFile(name string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".jwks-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// jwks renders the keys of all files, or none of them.
func jwks(files []string, notes io.Writer) ([]byte, error) {
	var sets []keys.Set
	var faults []error
	for _, file := range files {
		set, skipped, err := parseFile(file)
		if err != nil {
			faults = append(faults, err)
		}
		for _, fault := range skipped {
			fmt.Fprintf(notes, "left out: %v\n", fault)
		}
		sets = append(sets, set)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	set, err := keys.Union(sets...)
	if err != nil {
		return nil, err
	}
	return set.JWKS()
}

func parseFile(name string) (keys.Set, []*keys.Error, error) {
	f, err := os.Open(name)
	if err != nil {
		return keys.Set{}, nil, fmt.Errorf("reading --public-keys: %w", err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	data, err := io.ReadAll(io.LimitReader(f, keys.MaxInputSize+1))
	if err != nil {
		return keys.Set{}, nil, fmt.Errorf("reading --public-keys: %w", err)
	}
	return keys.ParsePEM(name, data)
}
