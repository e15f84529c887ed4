package settings_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/issuer-sync/issuer-sync/internal/settings"
)

func TestBind(t *testing.T) {
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	settings.Bind(flags, table())
	want := `      --address string    host:port (ADDRESS) (default ":1")
      --auto string       true, false or auto (default "auto")
      --linger duration   how long (LINGER) (default 5s)
      --name string       a name (NAME) (default "n")
      --off               serve nothing (OFF)
`
	if diff := cmp.Diff(want, flags.FlagUsages()); diff != "" {
		t.Errorf("usages (-want +got):\n%s", diff)
	}
}

func TestBindRefusesDefaultsOfOtherTypes(t *testing.T) {
	defer func() {
		if got, want := recover(), "settings: internal error: --count has a default of type int"; got != want {
			t.Errorf("panic %v; want %q", got, want)
		}
	}()
	settings.Bind(pflag.NewFlagSet("test", pflag.ContinueOnError), []settings.Setting{{Flag: "count", Default: 1}})
}

// A mistake names where the value is from, or where it could be from.
func TestPlaces(t *testing.T) {
	for _, c := range []struct {
		name, key string
		given     given
		want      string
	}{
		{"a value of the file", "name", given{file: "name: x"}, "c.yaml: name: bad"},
		{"a default beside a file", "name", given{file: "auto: x"}, "c.yaml: name: bad"},
		{"a default without a file", "name", given{}, "--name: bad"},
		{"a default without a file and a flag", "hidden", given{}, "HIDDEN: bad"},
		{"an empty variable that does not count", "name", given{file: "name: x", environment: map[string]string{"NAME": ""}}, "c.yaml: name: bad"},
		{"a variable", "serve.address", given{file: "name: x", environment: map[string]string{"ADDRESS": ""}}, "ADDRESS: bad"},
		{"a variable and a flag", "name", given{environment: map[string]string{"NAME": "x"}, flags: []string{"--name=y"}}, "--name: bad"},
		{"what is no setting", "parts[0].count", given{}, "parts[0].count: bad"},
	} {
		t.Run(c.name, func(t *testing.T) {
			check, err := settings.Load(c.given.source(t), new(values))
			if err != nil {
				t.Fatal(err)
			}
			check.Fault(c.key, "%s", "bad")
			if got := message(check.Err()); got != c.want {
				t.Errorf("mistake %q; want %q", got, c.want)
			}
		})
	}
}

// Nothing is said that only follows from what could not be read.
func TestBroke(t *testing.T) {
	for _, c := range []struct {
		name, key string
		want      string
	}{
		{"the key itself", "a.b", "a.b: broken"},
		{"a part of it", "a.b.c", "a.b: broken"},
		{"an entry of it", "a.b[0]", "a.b: broken"},
		{"what it is a part of", "a", "a.b: broken"},
		{"a neighbour", "a.c", "a.b: broken\na.c: bad"},
		{"a key that begins the same", "a.bc", "a.b: broken\na.bc: bad"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var check settings.Checker
			check.Broke("a.b", errors.New("broken"))
			check.Fault(c.key, "bad")
			if got := message(check.Err()); got != c.want {
				t.Errorf("mistakes %q; want %q", got, c.want)
			}
		})
	}
}

func TestChecks(t *testing.T) {
	duration := func(d time.Duration) func(*settings.Checker) {
		return func(c *settings.Checker) { c.Duration("k", d, time.Second, time.Minute) }
	}
	address := func(s string) func(*settings.Checker) {
		return func(c *settings.Checker) { c.Address("k", s) }
	}
	const wantAddress = "; want host:port with a port from 0 to 65535, such as :8443"
	for _, c := range []struct {
		name  string
		check func(*settings.Checker)
		want  string
	}{
		{"the shortest duration", duration(time.Second), ""},
		{"the longest duration", duration(time.Minute), ""},
		{"a shorter one", duration(time.Second - 1), "k: 999.999999ms; want 1s to 1m0s, with its unit"},
		{"a longer one", duration(time.Minute + 1), "k: 1m0.000000001s; want 1s to 1m0s, with its unit"},
		{"no address", address(""), ""},
		{"a port", address(":0"), ""},
		{"an IPv6 address", address("[::1]:65535"), ""},
		{"a port too high", address(":65536"), `k: ":65536"` + wantAddress},
		{"a port by name", address(":https"), `k: ":https"` + wantAddress},
		{"a host alone", address("localhost"), `k: "localhost"` + wantAddress},
	} {
		t.Run(c.name, func(t *testing.T) {
			var check settings.Checker
			c.check(&check)
			if got := message(check.Err()); got != c.want {
				t.Errorf("mistake %q; want %q", got, c.want)
			}
		})
	}
}
