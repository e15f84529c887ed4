package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Source is where a configuration comes from.
type Source struct {
	// Settings are what environment and flags can set, and the defaults.
	Settings []Setting
	// Flags are parsed. Those of Settings that are not declared count as not given.
	Flags *pflag.FlagSet
	// Lookup is the environment.
	Lookup Lookup
	// File is the flag and the variable that name the configuration file; its
	// Key is not used. The zero value means that there is no file.
	File Setting
	// FileRequired makes it an error to name no file.
	FileRequired bool
	// Seed fills in what defaults of Settings cannot say, such as those of list
	// entries, before decoding: what is written may be zero, and then counts. It
	// is given all values, in maps whose keys are in lower case. May be nil.
	Seed func(values map[string]any)
}

// Load reads the source into a struct with mapstructure tags, which into points
// to. Strings become durations where the struct has those, and true and false
// may stand where it has a string. Fields that the struct does not have are
// mistakes.
//
// The checker has all mistakes found so far, and goes on collecting; its Err is
// for the caller to look at. An error means that there is no configuration to
// look at: the file is missing, no YAML, or more than one document.
func Load(source Source, into any) (*Checker, error) {
	file, _, _ := source.File.given(source.Flags, source.Lookup)
	if file == "" && source.FileRequired {
		return nil, fmt.Errorf("no configuration: name a file with --%s or %s", source.File.Flag, source.File.Env)
	}
	v := viper.New()
	if file != "" {
		if err := readFile(v, file); err != nil {
			return nil, fmt.Errorf("reading configuration %q: %w", file, err)
		}
	}
	check := &Checker{file: file, origins: map[string]string{}}
	check.override(v, source)
	values := v.AllSettings()
	if source.Seed != nil {
		source.Seed(values)
	}
	check.decode(values, into)
	return check, nil
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
func (c *Checker) override(v *viper.Viper, source Source) {
	for _, s := range source.Settings {
		v.SetDefault(s.Key, s.Default)
		text, origin, ok := s.given(source.Flags, source.Lookup)
		if !ok {
			// Who has no file is told of the flag.
			if origin := s.settable(source.Flags); c.file == "" && origin != "" {
				c.origins[s.Key] = origin
			}
			continue
		}
		c.origins[s.Key] = origin
		value, err := s.parse(text)
		if err != nil {
			c.Broke(s.Key, err)
			continue
		}
		v.Set(s.Key, value)
	}
}
