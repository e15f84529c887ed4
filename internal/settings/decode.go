package settings

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/go-viper/mapstructure/v2"
)

// decode fills into and reports values of the wrong type and fields that do
// not exist.
func (c *Checker) decode(values map[string]any, into any) {
	var metadata mapstructure.Metadata
	decoder, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		Result: into, Metadata: &metadata,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(toDuration, boolToString),
	})
	if err == nil {
		err = decoder.Decode(values)
	}
	if err != nil {
		c.undecoded(err)
	}
	slices.Sort(metadata.Unused)
	for _, name := range metadata.Unused {
		c.Fault(name, "unknown field")
	}
}

// toDuration reads what a file has for a duration. A number without a unit would
// be nanoseconds, which nobody means.
func toDuration(_, to reflect.Type, value any) (any, error) {
	if to != reflect.TypeFor[time.Duration]() {
		return value, nil
	}
	switch value.(type) {
	case string, int, float64:
		return parseDuration(fmt.Sprint(value))
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
func (c *Checker) undecoded(err error) {
	var several interface{ Unwrap() []error }
	if errors.As(err, &several) {
		for _, one := range several.Unwrap() {
			c.undecoded(one)
		}
		return
	}
	var field *mapstructure.DecodeError
	if !errors.As(err, &field) {
		if c.file != "" {
			err = fmt.Errorf("%s: %w", c.file, err)
		}
		c.faults = append(c.faults, err)
		return
	}
	fault := field.Unwrap()
	if value, ok := errors.AsType[*mapstructure.UnconvertibleTypeError](err); ok {
		fault = fmt.Errorf("it is a %s; want a %s", kind(reflect.TypeOf(value.Value)), kind(value.Expected.Type()))
	}
	c.Broke(field.Name(), fault)
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
