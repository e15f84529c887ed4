package main

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
)

// lookupFunc is os.LookupEnv, or what stands for it in a test.
type lookupFunc func(name string) (string, bool)

// A setting is what a flag, an environment variable or either can say. It is
// known by its flag, or if it has none, by its variable.
type setting struct {
	flag     string // without dashes; "" means that there is none
	env      string // "" means that there is none
	fallback string
	usage    string
	isSwitch bool // a flag without a value
}

func (s setting) key() string {
	if s.flag != "" {
		return s.flag
	}
	return s.env
}

// names is how users write the setting.
func (s setting) names() string {
	var names []string
	if s.flag != "" {
		names = append(names, dashed(s.flag))
	}
	if s.env != "" {
		names = append(names, s.env)
	}
	return strings.Join(names, ", ")
}

// dashed is how users write a flag.
func dashed(flag string) string {
	if len(flag) == 1 {
		return "-" + flag
	}
	return "--" + flag
}

func (s setting) help() string {
	if s.fallback == "" {
		return s.usage
	}
	return fmt.Sprintf("%s (default %s)", s.usage, s.fallback)
}

// options are the settings of one command with their values.
type options struct {
	values  map[string]string // by key
	origins map[string]string // by key: the flag or the variable to name in a fault
	faults  []error
}

// parse reads the settings. A variable that is empty counts as not set, as in
// the manifests and scripts of azure-workload-identity.
func parse(settings []setting, args []string, lookup lookupFunc) (*options, error) {
	flags := flag.NewFlagSet("proxy", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // run prints
	for _, s := range settings {
		switch {
		case s.isSwitch:
			flags.Bool(s.flag, false, s.usage)
		case s.flag != "":
			flags.String(s.flag, s.fallback, s.usage)
		}
	}
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q; want flags alone, behind the command", flags.Arg(0))
	}
	o := &options{values: make(map[string]string), origins: make(map[string]string)}
	for _, s := range settings {
		o.values[s.key()], o.origins[s.key()] = s.fallback, s.names()
		if value, _ := lookup(s.env); s.env != "" && value != "" {
			o.values[s.key()], o.origins[s.key()] = value, s.env
		}
	}
	flags.Visit(func(f *flag.Flag) {
		o.values[f.Name], o.origins[f.Name] = f.Value.String(), dashed(f.Name)
	})
	return o, nil
}

// fault records a mistake in the value of a setting, unless err is nil.
func (o *options) fault(key string, err error) {
	if err != nil {
		o.faults = append(o.faults, fmt.Errorf("%s: %w", o.origins[key], err))
	}
}

func (o *options) text(key string) string { return o.values[key] }

func (o *options) on(key string) bool { return o.values[key] == "true" }

// required is text that must not be empty.
func (o *options) required(key, want string) string {
	if o.values[key] == "" {
		o.fault(key, fmt.Errorf("it is not set; want %s", want))
	}
	return o.values[key]
}

// list is text between commas. Nothing but commas is a mistake: taken for an
// empty list it would open what was to be narrowed.
func (o *options) list(key, want string) (all []string) {
	for item := range strings.SplitSeq(o.values[key], ",") {
		if item = strings.TrimSpace(item); item != "" {
			all = append(all, item)
		}
	}
	if len(all) == 0 && o.values[key] != "" {
		o.fault(key, fmt.Errorf("%q; want %s, or no value", o.values[key], want))
	}
	return all
}

func (o *options) port(key string) uint16 {
	number, err := strconv.ParseUint(o.values[key], 10, 16)
	if err != nil || number == 0 {
		o.fault(key, fmt.Errorf("%q; want a port from 1 to 65535", o.values[key]))
	}
	return uint16(number)
}

// uid is the proxy's user. The greatest number stands for no user (setresuid(2)).
func (o *options) uid(key string) uint32 {
	const most = 1<<32 - 2
	number, err := strconv.ParseUint(o.values[key], 10, 32)
	if err != nil || number == 0 || number > most {
		o.fault(key, fmt.Errorf("%q; want a uid from 1 to %d, and that of the proxy alone: requests of root are not to pass by the proxy", o.values[key], uint32(most)))
	}
	return uint32(number)
}

// logger writes as log-level and log-format say, warnings at once.
func (o *options) logger(lines *joined) *slog.Logger {
	level, ok := levels()[strings.ToLower(o.text("log-level"))]
	if !ok {
		o.fault("log-level", fmt.Errorf("%q; want debug, info, warn or error", o.text("log-level")))
	}
	choices := &slog.HandlerOptions{Level: level}
	if o.oneOf("log-format", "text", "json") == "json" {
		return slog.New(prompt{slog.NewJSONHandler(lines, choices), lines})
	}
	return slog.New(prompt{slog.NewTextHandler(lines, choices), lines})
}

// levels are ours and those of azure-workload-identity.
func levels() map[string]slog.Level {
	return map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
		"all": slog.LevelDebug, "trace": slog.LevelDebug, "warning": slog.LevelWarn,
	}
}

func (o *options) oneOf(key string, valid ...string) string {
	if !slices.Contains(valid, o.values[key]) {
		o.fault(key, fmt.Errorf("%q; want %s", o.values[key], strings.Join(valid, " or ")))
	}
	return o.values[key]
}
