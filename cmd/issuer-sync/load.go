package main

import (
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/issuer-sync/issuer-sync/internal/settings"
)

type lookupFunc = settings.Lookup

// configSetting names the configuration file.
func configSetting() settings.Setting {
	return settings.Setting{Flag: "config", Env: "ISSUER_SYNC_CONFIG", Default: "", Usage: "configuration file, YAML"}
}

func logSettings() []settings.Setting {
	return named([]settings.Setting{
		{Key: "log.level", Flag: "log-level", Default: "info", Usage: "debug, info, warn or error"},
		{Key: "log.format", Flag: "log-format", Default: "text", Usage: "text or json"},
	})
}

func serverSettings() []settings.Setting {
	return named([]settings.Setting{
		{Key: "serve.address", Flag: "serve-address", Default: "", Usage: "serve the documents on this host:port"},
		{Key: "serve.tls.certFile", Flag: "serve-tls-cert-file", Default: "", Usage: "PEM certificate; read again when it changes"},
		{Key: "serve.tls.keyFile", Flag: "serve-tls-key-file", Default: "", Usage: "PEM private key of the certificate"},
		{Key: "serve.maxAge", Flag: "serve-max-age", Default: 5 * time.Minute, Usage: "cache lifetime that the documents declare"},
		{Key: "serve.linger", Flag: "serve-linger", Default: 5 * time.Second, Usage: "how long to go on serving after SIGTERM"},
		{Key: "leaderElection.enabled", Flag: "leader-election", Default: "auto", Usage: "true, false or auto: elect one replica to write; auto does in a cluster"},
		{Key: "leaderElection.namespace", Flag: "leader-election-namespace", Default: "", Usage: "namespace of the Lease; the pod's own if empty"},
		{Key: "leaderElection.name", Flag: "leader-election-name", Default: "issuer-sync", Usage: "name of the Lease"},
		{Key: "admin.address", Flag: "admin-address", Default: ":8081", Usage: "host:port of /healthz, /readyz, /metrics and the status page; empty: none"},
	})
}

// named gives each setting the environment variable that its flag implies.
func named(all []settings.Setting) []settings.Setting {
	for i, s := range all {
		all[i].Env = "ISSUER_SYNC_" + strings.ToUpper(strings.ReplaceAll(s.Flag, "-", "_"))
	}
	return all
}

// documentSettings are those of serverSettings that shape the documents, for
// every command that may write them.
func documentSettings() []settings.Setting {
	return slices.DeleteFunc(serverSettings(), func(s settings.Setting) bool { return s.Key != "serve.maxAge" })
}

func bindFlags(flags *pflag.FlagSet, all []settings.Setting) { settings.Bind(flags, all) }

// loadConfig reads file, environment and flags into one valid config. The
// error lists every mistake, one a line.
func loadConfig(flags *pflag.FlagSet, lookup lookupFunc) (config, error) {
	var decoded config
	loaded, err := settings.Load(settings.Source{
		Settings: slices.Concat(logSettings(), serverSettings()),
		Flags:    flags, Lookup: lookup,
		File: configSetting(), FileRequired: true,
		Seed: seedDefaults,
	}, &decoded)
	if err != nil {
		return config{}, err
	}
	check := &checker{*loaded}
	decoded.validate(check)
	return decoded, check.Err()
}

// loadLogConfig is loadConfig for commands that need no file.
func loadLogConfig(flags *pflag.FlagSet, lookup lookupFunc) (logConfig, error) {
	var decoded struct {
		Log logConfig `mapstructure:"log"`
	}
	loaded, err := settings.Load(settings.Source{Settings: logSettings(), Flags: flags, Lookup: lookup}, &decoded)
	if err != nil {
		return logConfig{}, err
	}
	check := &checker{*loaded}
	decoded.Log.validate(check)
	return decoded.Log, check.Err()
}

// seedDefaults fills in what the issuers of the file do not say, before
// decoding: what they do say may be zero, and then it is a mistake.
func seedDefaults(values map[string]any) {
	issuers, _ := values["issuers"].([]any)
	for _, entry := range issuers {
		issuer, ok := entry.(map[string]any)
		if !ok {
			continue
		}
		seed(issuer, "interval", 30*time.Second)
		seed(issuer, "keys", map[string]any{})
		if lifecycle, ok := issuer["keys"].(map[string]any); ok {
			seed(lifecycle, "retention", 48*time.Hour)
			seed(lifecycle, "minimumwait", 24*time.Hour) // viper lowers all keys
			seed(lifecycle, "max", 50)
		}
		stores, _ := issuer["stores"].([]any)
		for _, entry := range append(slices.Clone(stores), issuer["state"]) {
			store, _ := entry.(map[string]any)
			if blob, ok := store["azureblob"].(map[string]any); ok {
				seed(blob, "credential", "default")
			}
		}
	}
}

func seed(fields map[string]any, name string, value any) {
	if fields[name] == nil {
		fields[name] = value
	}
}
