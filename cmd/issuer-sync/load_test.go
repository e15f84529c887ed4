package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// load loads a configuration file with the given environment and flags.
func load(t *testing.T, content string, environment map[string]string, args ...string) config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.String("config", "", "")
	bindFlags(flags, logSettings())
	bindFlags(flags, serverSettings())
	if err := flags.Parse(append(args, "--config", file)); err != nil {
		t.Fatal(err)
	}
	loaded, err := loadConfig(flags, func(name string) (string, bool) {
		value, ok := environment[name]
		return value, ok
	})
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

const minimal = `
issuers:
  - url: https://x.test
    sources: [{cluster: {}}, {cluster: {perServer: true}}, {cluster: {perServer: false}}]
    stores: [{directory: {path: www}}]
`

func TestPrecedence(t *testing.T) {
	// The process's own environment is not looked at.
	t.Setenv("ISSUER_SYNC_SERVE_MAX_AGE", "9m")
	t.Setenv("ISSUER_SYNC_ADMIN_ADDRESS", ":9")
	written := minimal + "serve: {maxAge: 1m}\nadmin: {address: ':1'}\n"
	environment := map[string]string{"ISSUER_SYNC_SERVE_MAX_AGE": "2m", "ISSUER_SYNC_ADMIN_ADDRESS": ""}
	for _, c := range []struct {
		name, content string
		environment   map[string]string
		args          []string
		maxAge        time.Duration
		admin         string
	}{
		{"nothing gives the defaults", minimal, nil, nil, 5 * time.Minute, ":8081"},
		{"the file goes before the defaults", written, nil, nil, time.Minute, ":1"},
		{"the environment goes before the file, also if it is empty", written, environment, nil, 2 * time.Minute, ""},
		{"flags go before the environment", written, environment, []string{"--serve-max-age=3m", "--admin-address=:3"}, 3 * time.Minute, ":3"},
		{"an empty flag counts", written, nil, []string{"--admin-address="}, time.Minute, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			loaded := load(t, c.content, c.environment, c.args...)
			if loaded.Serve.MaxAge != c.maxAge || loaded.Admin.Address != c.admin {
				t.Errorf("maxAge %s, admin address %q; want %s, %q", loaded.Serve.MaxAge, loaded.Admin.Address, c.maxAge, c.admin)
			}
		})
	}
}

// Every API server is asked unless the file says otherwise.
func TestPerServer(t *testing.T) {
	for i, want := range []bool{true, true, false} {
		source := load(t, minimal, nil).Issuers[0].Sources[i]
		if got := source.Cluster.build(nil).PerServer; got != want {
			t.Errorf("sources[%d]: PerServer is %t; want %t", i, got, want)
		}
	}
}
