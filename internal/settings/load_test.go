package settings_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/issuer-sync/issuer-sync/internal/settings"
)

// values is what the tests load.
type values struct {
	Name   string `mapstructure:"name"`
	Auto   string `mapstructure:"auto"`
	Hidden string `mapstructure:"hidden"`
	Serve  struct {
		Address string        `mapstructure:"address"`
		Linger  time.Duration `mapstructure:"linger"`
		Off     bool          `mapstructure:"turnedOff"`
	} `mapstructure:"serve"`
	Parts []part `mapstructure:"parts"`
}

type part struct {
	Count int           `mapstructure:"count"`
	Wait  time.Duration `mapstructure:"wait"`
}

func table() []settings.Setting {
	return []settings.Setting{
		{Key: "name", Flag: "name", Env: "NAME", Default: "n", Usage: "a name", EmptyUnset: true},
		{Key: "auto", Flag: "auto", Default: "auto", Usage: "true, false or auto"},
		{Key: "hidden", Env: "HIDDEN", Default: ""},
		{Key: "serve.address", Flag: "address", Env: "ADDRESS", Default: ":1", Usage: "host:port"},
		{Key: "serve.linger", Flag: "linger", Env: "LINGER", Default: 5 * time.Second, Usage: "how long"},
		{Key: "serve.turnedOff", Flag: "off", Env: "OFF", Default: false, Usage: "serve nothing"},
	}
}

func file() settings.Setting {
	return settings.Setting{Flag: "config", Env: "CONFIG", Default: "", Usage: "the file"}
}

// given is what a user gives.
type given struct {
	file        string // content of c.yaml; "" if there is none
	environment map[string]string
	flags       []string
}

// source has the file's directory as the working directory, so that messages
// have its bare name.
func (g given) source(t *testing.T) settings.Source {
	t.Helper()
	t.Chdir(t.TempDir())
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	settings.Bind(flags, append(table(), file()))
	if g.file != "" {
		if err := os.WriteFile("c.yaml", []byte(g.file), 0o600); err != nil {
			t.Fatal(err)
		}
		g.flags = append(g.flags, "--config=c.yaml")
	}
	if err := flags.Parse(g.flags); err != nil {
		t.Fatal(err)
	}
	return settings.Source{
		Settings: table(), Flags: flags, File: file(),
		Lookup: func(name string) (string, bool) {
			value, ok := g.environment[name]
			return value, ok
		},
	}
}

func TestPrecedence(t *testing.T) {
	// The process's own environment is not looked at.
	t.Setenv("NAME", "process")
	const written = "name: file\nauto: false\nhidden: file\nserve: {address: ':2', linger: 2s, turnedOff: true}"
	environment := map[string]string{"NAME": "env", "HIDDEN": "env", "ADDRESS": ":3", "LINGER": "3s", "OFF": "0"}
	empty := map[string]string{"NAME": "", "HIDDEN": "", "ADDRESS": ""}
	for _, c := range []struct {
		name                  string
		given                 given
		Name, Hidden, Address string
		Linger                time.Duration
		Off                   bool
		Auto                  string
	}{
		{"nothing gives the defaults", given{}, "n", "", ":1", 5 * time.Second, false, "auto"},
		{"the file goes before the defaults", given{file: written}, "file", "file", ":2", 2 * time.Second, true, "false"},
		{"the environment goes before the file", given{file: written, environment: environment}, "env", "env", ":3", 3 * time.Second, false, "false"},
		{
			"flags go before the environment",
			given{written, environment, []string{"--name=flag", "--address=:4", "--linger=4s", "--off", "--auto=flag"}},
			"flag", "env", ":4", 4 * time.Second, true, "flag",
		},
		{"a bool flag can say no", given{file: written, flags: []string{"--off=false"}}, "file", "file", ":2", 2 * time.Second, false, "false"},
		{"empty variables count, but for settings that say otherwise", given{file: written, environment: empty}, "file", "", "", 2 * time.Second, true, "false"},
		{"empty flags count always", given{file: written, flags: []string{"--name=", "--address="}}, "", "file", "", 2 * time.Second, true, "false"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got values
			check, err := settings.Load(c.given.source(t), &got)
			if err != nil {
				t.Fatal(err)
			}
			if err := check.Err(); err != nil {
				t.Fatal(err)
			}
			want := values{Name: c.Name, Auto: c.Auto, Hidden: c.Hidden}
			want.Serve.Address, want.Serve.Linger, want.Serve.Off = c.Address, c.Linger, c.Off
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		name  string
		given given
		want  []string // all mistakes, with those of validate
	}{
		{"none", given{file: "parts: [{count: 1}]"}, nil},
		{"a field that does not exist", given{file: "colour: x"}, []string{"c.yaml: colour: unknown field"}},
		{"fields that do not exist, below others", given{file: "serve: {d: 1, b: 1, a: 1, c: 1}\nparts: [{count: 1}, {count: 1, c: 1}]"}, []string{
			"c.yaml: parts[1].c: unknown field", "c.yaml: serve.a: unknown field", "c.yaml: serve.b: unknown field", "c.yaml: serve.c: unknown field", "c.yaml: serve.d: unknown field",
		}},
		{"wrong types, without the values", given{file: "name: [secret]\nserve: {turnedOff: secret}\nparts: [{count: secret}]"}, []string{
			"c.yaml: name: it is a list; want a string", "c.yaml: serve.turnedOff: it is a string; want a bool",
			"c.yaml: parts[0].count: it is a string; want a number",
		}},
		{"a duration that is none", given{file: "parts: [{wait: soon}]"}, []string{`c.yaml: parts[0].wait: "soon"; want a duration such as 5m`}},
		{"a duration without a unit", given{file: "parts: [{wait: 10}]"}, []string{`c.yaml: parts[0].wait: "10"; want a duration such as 5m`}},
		{"a duration in the environment", given{environment: map[string]string{"LINGER": "soon"}}, []string{`LINGER: "soon"; want a duration such as 5m`}},
		{"an empty duration in the environment", given{environment: map[string]string{"LINGER": ""}}, []string{`LINGER: ""; want a duration such as 5m`}},
		{"a bool in the environment", given{environment: map[string]string{"OFF": "maybe"}}, []string{`OFF: "maybe"; want true or false`}},
		{"a value of the file", given{file: "serve: {address: x}"}, []string{`c.yaml: serve.address: "x"; want host:port with a port from 0 to 65535, such as :8443`}},
		{"a value of a variable, though there is a file", given{file: "serve: {address: ':1'}", environment: map[string]string{"ADDRESS": ":70000"}}, []string{
			`ADDRESS: ":70000"; want host:port with a port from 0 to 65535, such as :8443`,
		}},
		{"values of flags", given{flags: []string{"--address=x", "--linger=2h"}}, []string{
			`--address: "x"; want host:port with a port from 0 to 65535, such as :8443`, `--linger: 2h0m0s; want 0s to 1h0m0s, with its unit`,
		}},
		{"all at once, what cannot be read first", given{"serve: {address: x}\nq: 1", map[string]string{"OFF": "-"}, []string{"--linger=2h"}}, []string{
			`OFF: "-"; want true or false`, "c.yaml: q: unknown field",
			`c.yaml: serve.address: "x"; want host:port with a port from 0 to 65535, such as :8443`, `--linger: 2h0m0s; want 0s to 1h0m0s, with its unit`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got values
			check, err := settings.Load(c.given.source(t), &got)
			if err != nil {
				t.Fatal(err)
			}
			check.Address("serve.address", got.Serve.Address)
			check.Duration("serve.linger", got.Serve.Linger, 0, time.Hour)
			if diff := cmp.Diff(strings.Join(c.want, "\n"), message(check.Err())); diff != "" {
				t.Errorf("mistakes (-want +got):\n%s", diff)
			}
		})
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestFile(t *testing.T) {
	for _, c := range []struct {
		name     string
		given    given
		required bool
		want     string
	}{
		{"one that is not there", given{flags: []string{"--config=no.yaml"}}, false, `reading configuration "no.yaml": no such file or directory`},
		{"one that the environment names", given{environment: map[string]string{"CONFIG": "no.yaml"}}, false, `reading configuration "no.yaml": no such file or directory`},
		{"a flag without one goes before the environment", given{environment: map[string]string{"CONFIG": "no.yaml"}, flags: []string{"--config="}}, false, ""},
		{"none, though there must be one", given{}, true, "no configuration: name a file with --config or CONFIG"},
		{"an empty name, though there must be one", given{environment: map[string]string{"CONFIG": ""}}, true, "no configuration: name a file with --config or CONFIG"},
		{"two documents", given{file: "name: a\n---\nname: b\n"}, true, `reading configuration "c.yaml": it holds more than one YAML document; want one, without "---" in between`},
		{"one document between separators", given{file: "# no document\n---\nname: a\n---\n"}, true, ""},
		{"an empty document", given{file: "# nothing\n"}, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			source := c.given.source(t)
			source.FileRequired = c.required
			check, err := settings.Load(source, new(values))
			if got := message(err); got != c.want {
				t.Errorf("error %q; want %q", got, c.want)
			}
			if err == nil && check.Err() != nil {
				t.Errorf("mistakes: %v", check.Err())
			}
		})
	}
	t.Run("one that is no YAML", func(t *testing.T) {
		_, err := settings.Load(given{file: ": : ["}.source(t), new(values))
		if got, want := message(err), `reading configuration "c.yaml": `; !strings.HasPrefix(got, want) {
			t.Errorf("error %q; want one that begins with %q", got, want)
		}
	})
	t.Run("a source without the setting has none", func(t *testing.T) {
		source := given{file: "name: file"}.source(t)
		source.File = settings.Setting{}
		var got values
		if _, err := settings.Load(source, &got); err != nil || got.Name != "n" {
			t.Errorf("name %q, error %v; want the default", got.Name, err)
		}
	})
	t.Run("a path in messages is what the user wrote", func(t *testing.T) {
		source := given{file: "q: 1"}.source(t)
		path, err := filepath.Abs("c.yaml")
		if err != nil {
			t.Fatal(err)
		}
		if err := source.Flags.Set("config", path); err != nil {
			t.Fatal(err)
		}
		check, err := settings.Load(source, new(values))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := message(check.Err()), path+": q: unknown field"; got != want {
			t.Errorf("mistakes %q; want %q", got, want)
		}
	})
}

// What is written counts, also if it is zero; what is not is the seed's.
func TestSeed(t *testing.T) {
	source := given{file: "parts: [{count: 0}, {wait: 0s}]"}.source(t)
	source.Seed = func(all map[string]any) {
		for _, entry := range all["parts"].([]any) {
			fields := entry.(map[string]any)
			if fields["count"] == nil {
				fields["count"] = 7
			}
			if fields["wait"] == nil {
				fields["wait"] = 8 * time.Second
			}
		}
	}
	var got values
	check, err := settings.Load(source, &got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]part{{0, 8 * time.Second}, {7, 0}}, got.Parts); diff != "" || check.Err() != nil {
		t.Errorf("mistakes %v; parts (-want +got):\n%s", check.Err(), diff)
	}
}
