package main

import (
	"bytes"
	"log/slog"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWarnOfUnknown(t *testing.T) {
	for name, unknown := range map[string]bool{
		"WEBHOOK_PROXYMODE=env":                     true,
		"WEBHOOK_CONFIGURATION=a":                   true,
		"WEBHOOK_PORT_NAME=a":                       true,
		"WEBHOOK_PROXYMODE=":                        false,
		"WEBHOOK_CONFIG=a":                          false,
		"WEBHOOK_CONFIGURATION_NAME=a":              false,
		"WEBHOOK_LOG_LEVEL=info":                    false,
		"AZURE_TENANT=a":                            false,
		"WEBHOOK=a":                                 false,
		"WEBHOOK_SERVICE_HOST=10.0.0.1":             false,
		"WEBHOOK_SERVICE_PORT=443":                  false,
		"WEBHOOK_SERVICE_PORT_HTTPS=443":            false,
		"WEBHOOK_PORT=tcp://10.0.0.1:443":           false,
		"WEBHOOK_PORT_9443_TCP=tcp://10.0.0.1:9443": false,
		"WEBHOOK_PORT_9443_TCP_PROTO=tcp":           false,
		"WEBHOOK_PORT_9443_TCP_PORT=9443":           false,
		"WEBHOOK_PORT_9443_UDP_ADDR=10.0.0.1":       false,
		"WEBHOOK_OF_SOMEBODY_SERVICE_HOST=10.0.0.1": false,
	} {
		t.Run(name, func(t *testing.T) {
			var logged bytes.Buffer
			newEnvironment([]string{name}).warnOfUnknown(slog.New(slog.NewTextHandler(&logged, nil)))
			var want []string
			if unknown {
				want = []string{`level=WARN msg="unknown environment variable" name=` + regexp.MustCompile(`^\w+`).FindString(name)}
			}
			if diff := cmp.Diff(want, regexp.MustCompile(`level=.*`).FindAllString(logged.String(), -1)); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
}
