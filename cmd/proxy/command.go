package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Exit codes, as those of the other commands.
const (
	exitFailed = 1 // an operation failed
	exitUsage  = 2 // the command line or the environment is wrong
)

// A command is what the first argument names.
type command struct {
	name     string
	does     string
	settings []setting
	// prepare returns the operation that the options ask for. Mistakes in them
	// are recorded there, and then the operation is not run.
	prepare func(o *options, stdout, stderr io.Writer) operation
}

type operation func(ctx context.Context) error

func commands() []command {
	return []command{serveCommand(), initCommand(), probeCommand(), tokenCommand()}
}

// run is the program; it returns the exit code.
func run(ctx context.Context, args []string, lookup lookupFunc, stdout, stderr io.Writer) int {
	chosen, args, err := choose(args)
	if err != nil {
		fmt.Fprintf(stderr, "proxy: %v\n", err)
		return exitUsage
	}
	o, err := parse(chosen.settings, args, lookup)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, chosen.help())
		return 0
	case err == nil && o.on("version"):
		fmt.Fprintf(stdout, "proxy version %s\n", version)
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "proxy %s: %v; see proxy %[1]s --help\n", chosen.name, err)
		return exitUsage
	}
	if o.on("probe") { // asked for as azure-workload-identity's proxy is
		chosen = probeCommand()
	}
	operate := chosen.prepare(o, stdout, stderr)
	if err := errors.Join(o.faults...); err != nil {
		fmt.Fprintf(stderr, "proxy %s: %v\n", chosen.name, err)
		return exitUsage
	}
	if err := operate(ctx); err != nil {
		fmt.Fprintf(stderr, "proxy %s: %v\n", chosen.name, err)
		return exitFailed
	}
	return 0
}

// choose finds the command: the first one, if the arguments begin with a flag,
// as azure-workload-identity's proxy is called.
func choose(args []string) (command, []string, error) {
	all := commands()
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return all[0], args, nil
	}
	i := slices.IndexFunc(all, func(c command) bool { return c.name == args[0] })
	if i < 0 {
		return command{}, nil, fmt.Errorf("unknown command %q; want serve, init, probe or token, see proxy --help", args[0])
	}
	return all[i], args[1:], nil
}

func (c command) help() string {
	var b strings.Builder
	b.WriteString("Usage:\n")
	for _, other := range commands() {
		fmt.Fprintf(&b, "  proxy %-6s [flags]   %s\n", other.name, other.does)
	}
	fmt.Fprintf(&b, "Without a command it serves.\n\nFlags and environment of proxy %s; a flag goes before its variable:\n", c.name)
	for _, s := range c.settings {
		fmt.Fprintf(&b, "  %s\n      %s\n", s.names(), s.help())
	}
	b.WriteString("\nExit codes: 0 good, 1 an operation failed, 2 wrong usage or configuration.\n")
	return b.String()
}
