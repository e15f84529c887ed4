// Package command is what our commands with subcommands have in common: how
// they end, how they log, and how one chooses the format of what they print.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	ExitFailed = 1 // a check or an operation failed
	ExitUsage  = 2 // the command line or the configuration is wrong
)

// Run runs the command that args ask for and returns the exit code: 0, that of a
// [Failure], or ExitUsage for any other error, which is one of cobra or of the
// configuration. The error is printed to stderr, with the name of root.
func Run(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	failure, ok := errors.AsType[*Failure](err)
	if !ok {
		failure = &Failure{Code: ExitUsage, Err: err}
	}
	if failure.Err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", root.Name(), failure.Err)
	}
	return failure.Code
}

// Failure is an error with an exit code.
type Failure struct {
	Code int
	// Err is nil if all was said.
	Err error
}

// Error implements error.
func (f *Failure) Error() string { return fmt.Sprint(f.Err) }

// Unwrap returns Err.
func (f *Failure) Unwrap() error { return f.Err }

// Failed makes err the failure of an operation rather than a mistake in usage;
// nil stays nil.
func Failed(err error) error {
	if err == nil {
		return nil
	}
	return &Failure{Code: ExitFailed, Err: err}
}

// NewLogger returns a logger that writes to w. The level is one of slog's names,
// in any case; the format is "json", or anything else for text.
func NewLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, err
	}
	options := &slog.HandlerOptions{Level: least}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return slog.New(slog.NewTextHandler(w, options)), nil
}

// OutputFlag adds -o, --output to a command that prints a report; output is one
// of the formats, the first by default.
func OutputFlag(cmd *cobra.Command, output *string, formats ...string) {
	*output = formats[0]
	cmd.Flags().VarP(choice{output, formats}, "output", "o", "output format: "+strings.Join(formats, " or "))
	cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)) //nolint:errcheck // the flag exists
}

// choice implements pflag.Value for a string that is one of several.
type choice struct {
	chosen *string
	valid  []string
}

func (c choice) String() string { return *c.chosen }

func (c choice) Type() string { return "string" }

func (c choice) Set(text string) error {
	if !slices.Contains(c.valid, text) {
		return fmt.Errorf("want %s", strings.Join(c.valid, " or "))
	}
	*c.chosen = text
	return nil
}
