package main

import (
	"cmp"
	"crypto/tls"
	"log/slog"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/issuer-sync/issuer-sync/internal/accounts"
	"github.com/issuer-sync/issuer-sync/internal/settings"
	"github.com/issuer-sync/issuer-sync/pkg/mutate"
)

// anyTenant stands for a tenant ID that is missing, so that this is the only
// mistake told for it.
const anyTenant = "00000000-0000-0000-0000-000000000000"

// validate reports every mistake in what decides about pods. The error is
// pkg/mutate's, which names its options by their values.
func (c podConfig) validate(check *settings.Checker) error {
	if c.TenantID == "" {
		check.Fault("tenantID", "it is empty; want the tenant's GUID or one of its domain names")
		c.TenantID = anyTenant
	}
	oneOf(check, "proxy.nativeSidecar", c.Proxy.NativeSidecar, nativeAuto, nativeAlways, nativeNever)
	_, err := mutate.New(c.options(check))
	return err
}

// options returns what pkg/mutate works with, but for the kind of sidecar. It
// reports what cannot be read, and leaves it out.
func (c podConfig) options(check *settings.Checker) mutate.Options {
	options := mutate.Options{TenantID: c.TenantID, Audience: c.Audience, SecondMount: c.SecondMount, Proxy: c.Proxy.options(check)}
	var faults [2]error
	options.Cloud, faults[0] = mutate.ParseCloud(c.Environment)
	options.TokenEndpoint, faults[1] = c.TokenEndpoint.options()
	keys := [...]string{"environment", "tokenEndpoint.ca.labelSelector"}
	for i, err := range faults {
		if err != nil {
			check.Fault(keys[i], "%v", err)
		}
	}
	return options
}

// mutator returns what decides about pods. c must be valid.
func (c podConfig) mutator(plainSidecar bool) (*mutate.Mutator, error) {
	options := c.options(new(settings.Checker))
	options.Proxy.PlainSidecar = plainSidecar
	return mutate.New(options)
}

// options reports quantities that cannot be read, and leaves them out.
func (c proxyConfig) options(check *settings.Checker) mutate.Proxy {
	resources := &corev1.ResourceRequirements{Requests: corev1.ResourceList{}, Limits: corev1.ResourceList{}}
	for _, q := range []struct {
		key, text string
		list      corev1.ResourceList
		name      corev1.ResourceName
	}{
		{"proxy.cpuRequest", c.CPURequest, resources.Requests, corev1.ResourceCPU},
		{"proxy.memoryRequest", c.MemoryRequest, resources.Requests, corev1.ResourceMemory},
		{"proxy.cpuLimit", c.CPULimit, resources.Limits, corev1.ResourceCPU},
		{"proxy.memoryLimit", c.MemoryLimit, resources.Limits, corev1.ResourceMemory},
	} {
		if q.text == "" {
			continue
		}
		quantity, err := resource.ParseQuantity(q.text)
		if err != nil || quantity.Sign() < 0 {
			check.Fault(q.key, "%q; want a quantity such as 10m or 24Mi, or nothing", q.text)
			continue
		}
		q.list[q.name] = quantity
	}
	return mutate.Proxy{Image: c.Image, InitImage: c.InitImage, Mode: mutate.ProxyMode(c.Mode), LogLevel: levelName(c.LogLevel), Resources: resources}
}

// options returns nil if there is no custom token endpoint. The CA's variables
// may be there without one, as in charts.
func (c endpointConfig) options() (*mutate.TokenEndpoint, error) {
	if c.AnnotationSuffix == "" && c.Audience == "" && c.URL == "" {
		return nil, nil
	}
	endpoint := &mutate.TokenEndpoint{
		Annotation: c.AnnotationSuffix, Audience: c.Audience, URL: c.URL, ServerName: c.ServerName,
		CAData: c.CA.Data, CAConfigMap: c.CA.ConfigMap, CASigner: c.CA.Signer,
	}
	if c.CA.LabelSelector == "" {
		return endpoint, nil
	}
	var err error
	endpoint.CASelector, err = metav1.ParseToLabelSelector(c.CA.LabelSelector)
	return endpoint, err
}

// validate reports every mistake in what the server needs beyond that.
func (c config) validate(check *settings.Checker) {
	check.Duration("serviceAccountWait", c.ServiceAccountWait, 0, accounts.MaxWait)
	check.Duration("serve.linger", c.Serve.Linger, 0, time.Minute)
	check.Address("serve.address", c.Serve.Address)
	check.Address("health.address", c.Health.Address)
	check.Address("metrics.address", c.Metrics.Address)
	if c.Serve.Address == "" {
		check.Fault("serve.address", "it is empty; want host:port, such as :9443")
	}
	if _, ok := tlsVersion(c.Serve.TLSMinVersion); !ok {
		check.Fault("serve.tlsMinVersion", "%q; want 1.2 or 1.3", c.Serve.TLSMinVersion)
	}
	c.Certificates.validate(check)
	c.Log.validate(check)
}

func (c certificateConfig) validate(check *settings.Checker) {
	required := map[string]string{"certificates.service": c.Service} // the name that API servers call
	if c.DisableRotation {
		required["certificates.directory"] = c.Directory
	} else {
		required["certificates.secret"], required["certificates.webhookConfiguration"] = c.Secret, c.WebhookConfiguration
		check.Duration("certificates.lifetime", c.Lifetime, time.Minute, 10*365*24*time.Hour)
	}
	for _, key := range slices.Sorted(maps.Keys(required)) {
		if required[key] == "" {
			check.Fault(key, "it is empty")
		}
	}
}

func (c logConfig) validate(check *settings.Checker) {
	var level slog.Level
	if level.UnmarshalText([]byte(c.Level)) != nil {
		check.Fault("log.level", "%q; want debug, info, warn or error", c.Level)
	}
	oneOf(check, "log.format", c.Format, "text", "json")
}

func oneOf(check *settings.Checker, key, value string, valid ...string) {
	if !slices.Contains(valid, value) {
		check.Fault(key, "%q; want one of %q", value, valid)
	}
}

// tlsVersion returns crypto/tls's number of a version.
func tlsVersion(name string) (uint16, bool) {
	number := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[name]
	return cmp.Or(number, tls.VersionTLS13), number != 0
}
