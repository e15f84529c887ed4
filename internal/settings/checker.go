package settings

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Checker collects mistakes, each with the place where the value was given: the
// flag, the variable, or the file and the key in it. Without a file, a default
// is named by the flag or variable that could replace it.
//
// The zero value knows no such places, and names keys as they are. A Checker is
// for one goroutine.
type Checker struct {
	file    string            // the configuration file; "" if there is none
	origins map[string]string // environment variable or flag, for keys that have their value from there
	broken  []string          // keys whose value could not be read: nothing more is said about them
	faults  []error
}

// Fault records a mistake in the value of a key, such as serve.address or
// issuers[0].url, unless it follows from another one: nothing is said about
// keys that [Checker.Broke] was told of, about parts of them, or about what they
// are a part of. Values must be fit to be shown.
func (c *Checker) Fault(key, format string, args ...any) {
	if slices.ContainsFunc(c.broken, func(broken string) bool { return within(key, broken) || within(broken, key) }) {
		return
	}
	c.faults = append(c.faults, fmt.Errorf("%s: %s", c.place(key), fmt.Sprintf(format, args...)))
}

// Broke records that the value of a key could not be read.
func (c *Checker) Broke(key string, err error) {
	c.Fault(key, "%v", err)
	c.broken = append(c.broken, key)
}

// Duration records a mistake unless d is from least to most.
func (c *Checker) Duration(key string, d, least, most time.Duration) {
	if d < least || d > most {
		c.Fault(key, "%s; want %s to %s, with its unit", d, least, most)
	}
}

// Address records a mistake unless s is empty or host:port, as a server listens on.
func (c *Checker) Address(key, s string) {
	if s == "" {
		return
	}
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		c.Fault(key, "%q; want host:port with a port from 0 to 65535, such as :8443", s)
	}
}

// Err returns all mistakes in the order in which they were recorded, one a
// line; nil if there is none.
func (c *Checker) Err() error { return errors.Join(c.faults...) }

func (c *Checker) place(key string) string {
	if origin, ok := c.origins[key]; ok {
		return origin
	}
	if c.file == "" {
		return key
	}
	return c.file + ": " + key
}

// within reports whether a key is another one or a part of it.
func within(key, whole string) bool {
	rest, ok := strings.CutPrefix(key, whole)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}
