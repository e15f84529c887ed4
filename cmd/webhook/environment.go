package main

import (
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// environment has the variables' values by their names.
type environment map[string]string

// newEnvironment reads NAME=value, as os.Environ gives it.
func newEnvironment(environ []string) environment {
	e := make(environment, len(environ))
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		e[name] = value
	}
	return e
}

// lookup implements settings.Lookup.
func (e environment) lookup(name string) (value string, ok bool) {
	value, ok = e[name]
	return value, ok
}

// serviceLink matches the variables that kubelet makes for Services whose names
// begin with "webhook" (Kubernetes, pkg/kubelet/envvars).
const serviceLink = `_(SERVICE_(HOST|PORT(_.+)?)|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`

// warnOfUnknown logs variables that look like ours and are not: nothing else
// would tell of a misspelt one.
func (e environment) warnOfUnknown(log *slog.Logger) {
	known := map[string]bool{configSetting().Env: true}
	for _, s := range slices.Concat(podSettings(), serverSettings(), logSettings()) {
		known[s.Env] = true
	}
	link := regexp.MustCompile(serviceLink)
	for _, name := range slices.Sorted(maps.Keys(e)) {
		if e[name] != "" && strings.HasPrefix(name, "WEBHOOK_") && !known[name] && !link.MatchString(name) {
			log.Warn("unknown environment variable", "name", name)
		}
	}
}
