package command_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/issuer-sync/issuer-sync/internal/command"
)

var errTrouble = errors.New("trouble")

// program has the flag --output, and ends as it is told.
func program(end func(*cobra.Command) error) (*cobra.Command, *string) {
	output := new(string)
	sub := &cobra.Command{Use: "sub", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return end(cmd) }}
	command.OutputFlag(sub, output, "text", "json", "yaml")
	root := &cobra.Command{Use: "program"}
	root.AddCommand(sub)
	return root, output
}

func TestRun(t *testing.T) {
	for _, c := range []struct {
		name   string
		args   []string
		end    error
		code   int
		stderr string
	}{
		{"success", []string{"sub"}, nil, 0, ""},
		{"any error is of usage", []string{"sub"}, errTrouble, 2, "program: trouble\n"},
		{"an operation that failed", []string{"sub"}, command.Failed(errTrouble), 1, "program: trouble\n"},
		{"one that did not", []string{"sub"}, command.Failed(nil), 0, ""},
		{"one that failed within", []string{"sub"}, fmt.Errorf("doing: %w", &command.Failure{Code: 7, Err: errTrouble}), 7, "program: trouble\n"},
		{"a failure of which all was said", []string{"sub"}, &command.Failure{Code: command.ExitFailed}, 1, ""},
		{"several mistakes", []string{"sub"}, errors.Join(errTrouble, errTrouble), 2, "program: trouble\ntrouble\n"},
		{"an unknown flag", []string{"sub", "--nonsense"}, nil, 2, "program: unknown flag: --nonsense\n"},
		{"an unknown command", []string{"nonsense"}, nil, 2, "program: unknown command \"nonsense\" for \"program\"\n"},
		{"an argument too much", []string{"sub", "more"}, nil, 2, "program: unknown command \"more\" for \"program sub\"\n"},
		{"an unknown format", []string{"sub", "-o", "xml"}, nil, 2, "program: invalid argument \"xml\" for \"-o, --output\" flag: want text or json or yaml\n"},
		{"no format", []string{"sub", "--output="}, nil, 2, "program: invalid argument \"\" for \"-o, --output\" flag: want text or json or yaml\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root, _ := program(func(*cobra.Command) error { return c.end })
			var stdout, stderr bytes.Buffer
			code := command.Run(t.Context(), root, c.args, &stdout, &stderr)
			if code != c.code || stderr.String() != c.stderr || stdout.Len() > 0 {
				t.Errorf("exit code %d, stderr %q, stdout %q; want %d, %q and nothing", code, &stderr, &stdout, c.code, c.stderr)
			}
		})
	}
}

// What the command is given is what it uses.
func TestRunHandsOn(t *testing.T) {
	type key struct{}
	root, output := program(func(cmd *cobra.Command) error {
		fmt.Fprint(cmd.OutOrStdout(), cmd.Context().Value(key{}))
		fmt.Fprint(cmd.ErrOrStderr(), "said")
		return nil
	})
	var stdout, stderr bytes.Buffer
	code := command.Run(context.WithValue(t.Context(), key{}, "handed on"), root, []string{"sub", "-o", "yaml"}, &stdout, &stderr)
	if code != 0 || stdout.String() != "handed on" || stderr.String() != "said" || *output != "yaml" {
		t.Errorf("exit code %d, stdout %q, stderr %q, output %q", code, &stdout, &stderr, *output)
	}
}

func TestFailure(t *testing.T) {
	failed := command.Failed(errTrouble)
	if !errors.Is(failed, errTrouble) || failed.Error() != "trouble" {
		t.Errorf("%v is not what failed", failed)
	}
	if err := command.Failed(nil); err != nil {
		t.Errorf("nothing failed, but %v", err)
	}
	if text := (&command.Failure{}).Error(); text != "<nil>" {
		t.Errorf("a failure of which all was said: %q", text)
	}
}

func TestOutputFlag(t *testing.T) {
	root, output := program(func(*cobra.Command) error { return nil })
	if *output != "text" {
		t.Errorf("the default is %q; want the first", *output)
	}
	var stdout, stderr bytes.Buffer
	if code := command.Run(t.Context(), root, []string{"sub", "--help"}, &stdout, &stderr); code != 0 ||
		!strings.Contains(stdout.String(), "-o, --output string   output format: text or json or yaml (default \"text\")") {
		t.Errorf("exit code %d, help:\n%s", code, &stdout)
	}
	root, _ = program(nil)
	stdout.Reset()
	code := command.Run(t.Context(), root, []string{cobra.ShellCompRequestCmd, "sub", "--output", ""}, &stdout, &stderr)
	if want := "text\njson\nyaml\n:4\n"; code != 0 || stdout.String() != want { // 4: no names of files
		t.Errorf("exit code %d, completed to %q; want %q", code, &stdout, want)
	}
}

func TestNewLogger(t *testing.T) {
	for _, c := range []struct {
		name, level, format string
		want                string
	}{
		{"text", "info", "text", "level=INFO msg=said n=1\nlevel=WARN msg=warned\n"},
		{"upper case", "WARN", "text", "level=WARN msg=warned\n"},
		{"debug", "debug", "", "level=DEBUG msg=detail\nlevel=INFO msg=said n=1\nlevel=WARN msg=warned\n"},
		{"JSON", "warn", "json", `"level":"WARN","msg":"warned"}` + "\n"},
		{"nothing at all", "error", "json", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var logged bytes.Buffer
			log, err := command.NewLogger(&logged, c.level, c.format)
			if err != nil {
				t.Fatal(err)
			}
			log.Debug("detail")
			log.Info("said", "n", 1)
			log.Warn("warned")
			var got strings.Builder
			for line := range strings.Lines(logged.String()) { // without the time, which is first
				separator := " "
				if c.format == "json" {
					separator = ","
				}
				_, rest, _ := strings.Cut(line, separator)
				got.WriteString(rest)
			}
			if got.String() != c.want {
				t.Errorf("logged %q; want %q", got.String(), c.want)
			}
		})
	}
	for _, level := range []string{"", "loud", "warning"} {
		if _, err := command.NewLogger(new(bytes.Buffer), level, "text"); err == nil {
			t.Errorf("level %q is taken", level)
		}
	}
}
