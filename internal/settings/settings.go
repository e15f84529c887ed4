// Package settings reads what users configure, from a file, the environment
// and flags, in rising precedence, into one struct, and reports all mistakes at
// once, each with the place where the value was given.
//
// It knows no setting of its own: commands hand in tables of them. It does not
// decide what values mean; commands do, and report with the same [Checker]. It
// reads no environment but the [Lookup] that it is given.
package settings

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/pflag"
)

// Lookup returns the value of an environment variable and whether it is set,
// as os.LookupEnv does.
type Lookup func(name string) (string, bool)

// Setting is a scalar that file, environment and flag can set. Lists and maps
// are for the file alone, and need no Setting.
type Setting struct {
	// Key is the place in the file, such as serve.tls.certFile: the mapstructure
	// tags of the struct that is loaded, in the same case.
	Key string
	// Flag is the flag's name without dashes; "" means that there is none.
	Flag string
	// Env is the environment variable; "" means that there is none.
	Env string
	// Default is a string, a bool or a time.Duration, and with that the type.
	Default any
	// Usage is the flag's help, without the variable, which is put behind it.
	Usage string
	// EmptyUnset takes a variable that is empty for one that is not set. By
	// default it counts, as an empty flag does: that is how an address of the
	// file is turned off. Where charts and ConfigMaps of others write every
	// variable they know of, an empty one means that nobody said anything, and
	// it must not hide the file.
	EmptyUnset bool
}

// Bind declares the flags of the settings. It panics if a Default is of another
// type than Setting says.
func Bind(flags *pflag.FlagSet, settings []Setting) {
	for _, s := range settings {
		if s.Flag == "" {
			continue
		}
		usage := s.Usage
		if s.Env != "" {
			usage = fmt.Sprintf("%s (%s)", usage, s.Env)
		}
		switch fallback := s.Default.(type) {
		case string:
			flags.String(s.Flag, fallback, usage)
		case bool:
			flags.Bool(s.Flag, fallback, usage)
		case time.Duration:
			flags.Duration(s.Flag, fallback, usage)
		default:
			panic(fmt.Sprintf("settings: internal error: --%s has a default of type %T", s.Flag, fallback))
		}
	}
}

// given returns what flag or variable say, and which of them it was; false if
// neither says anything.
func (s Setting) given(flags *pflag.FlagSet, lookup Lookup) (text, origin string, ok bool) {
	if flag := flags.Lookup(s.Flag); flag != nil && flag.Changed {
		return flag.Value.String(), "--" + s.Flag, true
	}
	if s.Env == "" {
		return "", "", false
	}
	text, ok = lookup(s.Env)
	if text == "" && s.EmptyUnset {
		ok = false
	}
	return text, s.Env, ok
}

// settable returns the flag or variable that could be used; "" if there is none.
func (s Setting) settable(flags *pflag.FlagSet) string {
	if flags.Lookup(s.Flag) != nil {
		return "--" + s.Flag
	}
	return s.Env
}

// parse returns the value in the setting's type.
func (s Setting) parse(text string) (any, error) {
	switch s.Default.(type) {
	case bool:
		value, err := strconv.ParseBool(text) // as pflag does
		if err != nil {
			return nil, fmt.Errorf("%q; want true or false", text)
		}
		return value, nil
	case time.Duration:
		return parseDuration(text)
	default:
		return text, nil
	}
}

func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q; want a duration such as 5m", s)
	}
	return d, nil
}
