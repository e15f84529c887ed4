package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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
	"k8s.io/apimachinery/pkg/util/yaml"
)

// lookupFunc returns the value of an environment variable and whether it is
// set, as os.LookupEnv does.
type lookupFunc func(name string) (string, bool)

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
		{"leaderElection.enabled", "leader-election", "auto", "true, false or auto: elect one replica to write; auto does in a cluster"},
		{"leaderElection.namespace", "leader-election-namespace", "", "namespace of the Lease; the pod's own if empty"},
		{"leaderElection.name", "leader-election-name", "issuer-sync", "name of the Lease"},
		{"admin.address", "admin-address", ":8081", "host:port of /healthz, /readyz, /metrics and the status page; empty: none"},
	}
}

// documentSettings are those of serverSettings that shape the documents, for
// every command that may write them.
func documentSettings() []setting {
	return slices.DeleteFunc(serverSettings(), func(s setting) bool { return s.key != "serve.maxAge" })
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
func loadConfig(flags *pflag.FlagSet, lookup lookupFunc) (config, error) {
	file := configFile(flags, lookup)
	if file == "" {
		return config{}, errors.New("no configuration: name a file with --config or ISSUER_SYNC_CONFIG")
	}
	v := viper.New()
	if err := readFile(v, file); err != nil {
		return config{}, fmt.Errorf("reading configuration %q: %w", file, err)
	}
	check := &checker{file: file}
	check.override(v, slices.Concat(logSettings(), serverSettings()), flags, lookup)
	var decoded config
	check.decode(v.AllSettings(), &decoded)
	decoded.validate(check)
	return decoded, errors.Join(check.faults...)
}

// loadLogConfig is loadConfig for commands that need no file.
func loadLogConfig(flags *pflag.FlagSet, lookup lookupFunc) (logConfig, error) {
	v, check := viper.New(), new(checker)
	check.override(v, logSettings(), flags, lookup)
	loaded := logConfig{Level: v.GetString("log.level"), Format: v.GetString("log.format")}
	loaded.validate(check)
	return loaded, errors.Join(check.faults...)
}

// configFile returns the file that flag or environment name; "" means none.
func configFile(flags *pflag.FlagSet, lookup lookupFunc) string {
	if flag := flags.Lookup("config"); flag != nil && flag.Changed {
		return flag.Value.String()
	}
	file, _ := lookup("ISSUER_SYNC_CONFIG")
	return file
}

func readFile(v *viper.Viper, file string) error {
	content, err := os.ReadFile(file)
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	if err != nil {
		return err
	}
	v.SetConfigType("yaml")
	if err := v.ReadConfig(bytes.NewReader(content)); err != nil {
		return err
	}
	return singleDocument(content)
}

// singleDocument refuses what viper would leave out: it reads one document.
func singleDocument(content []byte) error {
	documents := yaml.NewYAMLToJSONDecoder(bytes.NewReader(content))
	for count := 0; count < 2; {
		var document any
		err := documents.Decode(&document)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if document != nil {
			count++
		}
	}
	return errors.New(`it holds more than one YAML document; want one, without "---" in between`)
}

// override puts what environment and flags say before the file. Viper's own
// binding takes a variable that is set but empty for one that is not set.
func (c *checker) override(v *viper.Viper, settings []setting, flags *pflag.FlagSet, lookup lookupFunc) {
	c.origins = map[string]string{}
	for _, s := range settings {
		v.SetDefault(s.key, s.fallback)
		text, given := lookup(s.env())
		origin := s.env()
		if flag := flags.Lookup(s.flag); flag != nil && flag.Changed {
			text, origin, given = flag.Value.String(), "--"+s.flag, true
		}
		if !given {
			continue
		}
		c.origins[s.key] = origin
		var value any = text
		if _, ok := s.fallback.(time.Duration); ok {
			var err error
			if value, err = parseDuration(text); err != nil {
				c.broke(s.key, err)
				continue
			}
		}
		v.Set(s.key, value)
	}
}

func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q; want a duration such as 5m", s)
	}
	return d, nil
}

// decode fills into and reports values of the wrong type and fields that do
// not exist.
func (c *checker) decode(settings map[string]any, into *config) {
	seedDefaults(settings)
	var metadata mapstructure.Metadata
	decoder, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		Result: into, Metadata: &metadata,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(stringToDuration, boolToString),
	})
	if err == nil {
		err = decoder.Decode(settings)
	}
	if err != nil {
		c.undecoded(err)
	}
	slices.Sort(metadata.Unused)
	for _, name := range metadata.Unused {
		c.fault(name, "unknown field")
	}
}

// seedDefaults fills in what the issuers of the file do not say, before
// decoding: what they do say may be zero, and then it is a mistake.
func seedDefaults(settings map[string]any) {
	issuers, _ := settings["issuers"].([]any)
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

func stringToDuration(_, to reflect.Type, value any) (any, error) {
	if s, ok := value.(string); ok && to == reflect.TypeFor[time.Duration]() {
		return parseDuration(s)
	}
	return value, nil
}

// boolToString lets "enabled: false" stand where "auto" may stand too.
func boolToString(_, to reflect.Type, value any) (any, error) {
	if b, ok := value.(bool); ok && to.Kind() == reflect.String {
		return strconv.FormatBool(b), nil
	}
	return value, nil
}

// undecoded unpacks mapstructure's collection of errors into one mistake for
// each field. Values of the wrong type are not shown: they may be secret.
func (c *checker) undecoded(err error) {
	var several interface{ Unwrap() []error }
	if errors.As(err, &several) {
		for _, one := range several.Unwrap() {
			c.undecoded(one)
		}
		return
	}
	var field *mapstructure.DecodeError
	if !errors.As(err, &field) {
		c.faults = append(c.faults, fmt.Errorf("%s: %w", c.file, err))
		return
	}
	fault := field.Unwrap()
	if value, ok := errors.AsType[*mapstructure.UnconvertibleTypeError](err); ok {
		fault = fmt.Errorf("it is a %s; want a %s", kind(reflect.TypeOf(value.Value)), kind(value.Expected.Type()))
	}
	c.broke(field.Name(), fault)
}

// kind is what YAML calls values of the type.
func kind(of reflect.Type) string {
	switch of.Kind() {
	case reflect.Slice:
		return "list"
	case reflect.Map, reflect.Struct, reflect.Pointer:
		return "map"
	case reflect.Int, reflect.Float64:
		return "number"
	case reflect.Int64: // time.Duration
		return "duration such as 5m"
	default:
		return of.Kind().String()
	}
}
