package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"github.com/issuer-sync/issuer-sync/internal/store/azureblob"
)

// config is all that users can configure. The zero value of every field is
// safe; defaults are in settings() and issuerDefaults.
type config struct {
	// Issuers are what is published, in the file only.
	Issuers []issuerConfig `mapstructure:"issuers"`
	// Serve is the process's own server for the documents of all issuers; off without an address.
	Serve serveConfig `mapstructure:"serve"`
	// Admin serves /healthz, /readyz, /metrics and the status page; off if the address is empty.
	Admin adminConfig `mapstructure:"admin"`
	// LeaderElection lets one replica write while all serve.
	LeaderElection leaderElectionConfig `mapstructure:"leaderElection"`
	Log            logConfig            `mapstructure:"log"`
}

type issuerConfig struct {
	// URL is the exact issuer, as --service-account-issuer of kube-apiserver says it.
	URL string `mapstructure:"url"`
	// Sources say where keys are read; at least one.
	Sources []sourceConfig `mapstructure:"sources"`
	// Stores say where documents are written; without any they live in memory and are only served.
	Stores []storeConfig `mapstructure:"stores"`
	Keys   keysConfig    `mapstructure:"keys"`
	// Interval is the time between rounds.
	Interval time.Duration `mapstructure:"interval"`
	Verify   verifyConfig  `mapstructure:"verify"`
}

// sourceConfig has exactly one field set.
type sourceConfig struct {
	Cluster *clusterConfig `mapstructure:"cluster"`
	Files   *filesConfig   `mapstructure:"files"`
	JWKS    *jwksConfig    `mapstructure:"jwks"`
}

// clusterConfig names a cluster. Without a kubeconfig it is the one that the process runs in.
type clusterConfig struct {
	Kubeconfig string `mapstructure:"kubeconfig"`
	Context    string `mapstructure:"context"`
	// PerServer asks every API server, not only the configured address; true unless set.
	PerServer *bool `mapstructure:"perServer"`
}

type filesConfig struct {
	// Paths are PEM files, directories or globs.
	Paths []string `mapstructure:"paths"`
}

type jwksConfig struct {
	// URL is the https address of a JWK set or of a discovery document.
	URL string `mapstructure:"url"`
	// CAFile holds the PEM certificates to trust instead of the system's.
	CAFile string `mapstructure:"caFile"`
}

// storeConfig has exactly one field set.
type storeConfig struct {
	AzureBlob *azureBlobConfig `mapstructure:"azureBlob"`
	Directory *directoryConfig `mapstructure:"directory"`
	ConfigMap *configMapConfig `mapstructure:"configMap"`
}

type azureBlobConfig struct {
	// URL is the container, with an optional path below it.
	URL string `mapstructure:"url"`
	// Credential is default, workloadIdentity, connectionString, sas or sharedKey.
	Credential string `mapstructure:"credential"`
	// CredentialFile holds the connection string, SAS or account key. Without
	// it they come from AZURE_STORAGE_CONNECTION_STRING,
	// AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_KEY.
	CredentialFile string `mapstructure:"credentialFile"`
	// CAFile holds the PEM certificates to trust instead of the system's, for emulators.
	CAFile string `mapstructure:"caFile"`
}

type directoryConfig struct {
	Path string `mapstructure:"path"`
}

type configMapConfig struct {
	Namespace  string `mapstructure:"namespace"`
	Name       string `mapstructure:"name"`
	Kubeconfig string `mapstructure:"kubeconfig"`
	Context    string `mapstructure:"context"`
}

type keysConfig struct {
	// Retention and MinimumWait are accepted ahead of the key lifecycle, which
	// will use them; until then a published key stays.
	Retention   time.Duration `mapstructure:"retention"`
	MinimumWait time.Duration `mapstructure:"minimumWait"`
	// Max is how many keys are published at most.
	Max int `mapstructure:"max"`
}

type verifyConfig struct {
	// URL is where the documents are fetched instead of at the issuer.
	URL    string `mapstructure:"url"`
	CAFile string `mapstructure:"caFile"`
	// Disabled turns the outside view off.
	Disabled bool `mapstructure:"disabled"`
}

type serveConfig struct {
	Address string    `mapstructure:"address"`
	TLS     tlsConfig `mapstructure:"tls"`
	// MaxAge is the cache lifetime that the documents declare, in stores too.
	MaxAge time.Duration `mapstructure:"maxAge"`
	// Linger is how long the server goes on after SIGTERM, so that load balancers notice first.
	Linger time.Duration `mapstructure:"linger"`
}

type tlsConfig struct {
	CertFile string `mapstructure:"certFile"`
	KeyFile  string `mapstructure:"keyFile"`
}

// leaderElectionConfig is accepted ahead of leader election: until then every
// replica writes, which the stores' compare-and-swap keeps right.
type leaderElectionConfig struct {
	Enabled   string `mapstructure:"enabled"`
	Namespace string `mapstructure:"namespace"`
	Name      string `mapstructure:"name"`
}

type adminConfig struct {
	Address string `mapstructure:"address"`
}

type logConfig struct {
	Level  string `mapstructure:"level"`
	Format string `mapstructure:"format"`
}

// setting is a scalar that file, environment and flag can set, in rising
// precedence.
type setting struct {
	key      string // in the file
	flag     string
	fallback any
	usage    string
}

// env is the setting's environment variable.
func (s setting) env() string {
	return "ISSUER_SYNC_" + strings.ToUpper(strings.ReplaceAll(s.flag, "-", "_"))
}

func logSettings() []setting {
	return []setting{
		{"log.level", "log-level", "info", "debug, info, warn or error"},
		{"log.format", "log-format", "text", "text or json"},
	}
}

func serverSettings() []setting {
	return []setting{
		{"serve.address", "serve-address", "", "serve the documents on this host:port"},
		{"serve.tls.certFile", "serve-tls-cert-file", "", "PEM certificate; read again when it changes"},
		{"serve.tls.keyFile", "serve-tls-key-file", "", "PEM private key of the certificate"},
		{"serve.maxAge", "serve-max-age", 5 * time.Minute, "cache lifetime that the documents declare"},
		{"serve.linger", "serve-linger", 5 * time.Second, "how long to go on serving after SIGTERM"},
		{"admin.address", "admin-address", ":8081", "host:port of /healthz, /readyz, /metrics and the status page; empty: none"},
	}
}

func bindFlags(flags *pflag.FlagSet, settings []setting) {
	for _, s := range settings {
		usage := fmt.Sprintf("%s (%s)", s.usage, s.env())
		switch fallback := s.fallback.(type) {
		case time.Duration:
			flags.Duration(s.flag, fallback, usage)
		default:
			flags.String(s.flag, fmt.Sprint(fallback), usage)
		}
	}
}

// loadConfig reads file, environment and flags into one valid config. The
// error lists every mistake, one a line.
func loadConfig(flags *pflag.FlagSet, getenv func(string) string) (config, error) {
	v, err := readConfig(flags, configFile(flags, getenv))
	if err != nil {
		return config{}, err
	}
	file := v.ConfigFileUsed()
	if file == "" {
		return config{}, errors.New("no configuration: name a file with --config or ISSUER_SYNC_CONFIG")
	}
	var decoded config
	faults := decode(v, &decoded)
	decoded.setDefaults()
	faults = append(faults, decoded.validate()...)
	for i, fault := range faults {
		faults[i] = fmt.Errorf("%s: %w", file, fault)
	}
	return decoded, errors.Join(faults...)
}

// loadLogConfig is loadConfig for commands that need no file.
func loadLogConfig(flags *pflag.FlagSet) (logConfig, error) {
	v, err := readConfig(flags, "")
	if err != nil {
		return logConfig{}, err
	}
	return logConfig{Level: v.GetString("log.level"), Format: v.GetString("log.format")}, nil
}

func readConfig(flags *pflag.FlagSet, file string) (*viper.Viper, error) {
	v := viper.New()
	v.SetConfigType("yaml")
	for _, s := range slices.Concat(logSettings(), serverSettings()) {
		if err := v.BindEnv(s.key, s.env()); err != nil {
			return nil, err
		}
		v.SetDefault(s.key, s.fallback)
		if flag := flags.Lookup(s.flag); flag != nil {
			if err := v.BindPFlag(s.key, flag); err != nil {
				return nil, err
			}
		}
	}
	if file == "" {
		return v, nil
	}
	v.SetConfigFile(file)
	if err := v.ReadInConfig(); err != nil {
		if path, ok := errors.AsType[*fs.PathError](err); ok {
			err = path.Err
		}
		return nil, fmt.Errorf("reading configuration %q: %w", file, err)
	}
	return v, nil
}

// configFile returns the file that flag or environment name; "" means none.
func configFile(flags *pflag.FlagSet, getenv func(string) string) string {
	if flag := flags.Lookup("config"); flag != nil && flag.Changed {
		return flag.Value.String()
	}
	return getenv("ISSUER_SYNC_CONFIG")
}

// decode fills c and reports values of the wrong type and fields that do not exist.
func decode(v *viper.Viper, c *config) []error {
	var metadata mapstructure.Metadata
	err := v.Unmarshal(c, func(decoder *mapstructure.DecoderConfig) {
		decoder.Metadata = &metadata
		decoder.WeaklyTypedInput = false
		decoder.DecodeHook = mapstructure.ComposeDecodeHookFunc(mapstructure.StringToTimeDurationHookFunc(), boolToString)
	})
	var faults []error
	if err != nil {
		faults = fieldFaults(err)
	}
	slices.Sort(metadata.Unused)
	for _, name := range metadata.Unused {
		faults = append(faults, fmt.Errorf("%s: unknown field", name))
	}
	return faults
}

// boolToString lets "enabled: false" stand where "auto" may stand too.
func boolToString(_, to reflect.Type, value any) (any, error) {
	if b, ok := value.(bool); ok && to.Kind() == reflect.String {
		return strconv.FormatBool(b), nil
	}
	return value, nil
}

// fieldFaults unpacks mapstructure's collection of errors into one for each field.
func fieldFaults(err error) (faults []error) {
	var several interface{ Unwrap() []error }
	if errors.As(err, &several) {
		for _, one := range several.Unwrap() {
			faults = append(faults, fieldFaults(one)...)
		}
		return faults
	}
	var field *mapstructure.DecodeError
	if !errors.As(err, &field) {
		return []error{err}
	}
	if value, ok := errors.AsType[*mapstructure.UnconvertibleTypeError](err); ok {
		return []error{fmt.Errorf("%s: %v; want a %s", field.Name(), value.Value, value.Expected.Type())}
	}
	return []error{fmt.Errorf("%s: %w", field.Name(), field.Unwrap())}
}

func (c *config) setDefaults() {
	if c.LeaderElection.Enabled == "" {
		c.LeaderElection.Enabled = "auto"
	}
	for i := range c.Issuers {
		issuer := &c.Issuers[i]
		if issuer.Interval == 0 {
			issuer.Interval = 30 * time.Second
		}
		if issuer.Keys.Retention == 0 {
			issuer.Keys.Retention = 48 * time.Hour
		}
		if issuer.Keys.MinimumWait == 0 {
			issuer.Keys.MinimumWait = 24 * time.Hour
		}
		if issuer.Keys.Max == 0 {
			issuer.Keys.Max = 50
		}
		for _, store := range issuer.Stores {
			if store.AzureBlob != nil && store.AzureBlob.Credential == "" {
				store.AzureBlob.Credential = "default"
			}
		}
	}
}

// secret returns the content of CredentialFile, or of the environment variable
// that Azure's own tools read.
func (c azureBlobConfig) secret(getenv func(string) string, variable string) (azureblob.Secret, error) {
	if c.CredentialFile == "" {
		value := getenv(variable)
		if value == "" {
			return "", fmt.Errorf("credential %s needs credentialFile, or %s in the environment", c.Credential, variable)
		}
		return azureblob.Secret(value), nil
	}
	content, err := os.ReadFile(c.CredentialFile)
	if err != nil {
		return "", fmt.Errorf("reading credentialFile: %w", err)
	}
	return azureblob.Secret(strings.TrimSpace(string(content))), nil
}
