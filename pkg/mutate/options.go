package mutate

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Options are the choices of whoever runs the webhook; a pod and its
// ServiceAccount may say otherwise where the table in settings.go lists them.
type Options struct {
	// TenantID is the tenant of ServiceAccounts that name none: a GUID or a
	// domain name. Required.
	TenantID string
	// Cloud is where access tokens come from; the zero value is the public cloud.
	Cloud Cloud
	// Audience of the token; empty means the cloud's.
	Audience string
	// SecondMount mounts the token also where azure-workload-identity 1.6.0 had
	// it: below /var/run/secrets/azure/wi.
	SecondMount bool
	// TokenEndpoint is for pods that ask for it by its annotation; nil means
	// there is none.
	TokenEndpoint *TokenEndpoint
	// Proxy is for pods that ask for it; without an image they are refused.
	Proxy Proxy
}

// TokenEndpoint is a server inside the cluster that SDKs ask instead of Entra.
type TokenEndpoint struct {
	// Annotation is its part after "azure.workload.identity/use-", such as
	// "identity-binding". Required.
	Annotation string
	// Audience of the token for it; not the one for Entra. Required.
	Audience string
	// URL of the endpoint, https. Required.
	URL string
	// ServerName is sent in the TLS handshake (SNI); empty means the URL's host.
	ServerName string

	// The CA of the endpoint: one of these, or none if the system's CAs will do.

	// CAData is PEM.
	CAData string
	// CAConfigMap is the name of a ConfigMap in the pod's namespace with the key "ca.crt".
	CAConfigMap string
	// CASigner is the signer name of a ClusterTrustBundle.
	CASigner string

	// CASelector selects among the bundles of CASigner; nil means every one.
	CASelector *metav1.LabelSelector
}

func (e TokenEndpoint) annotation() string { return endpointPrefix + e.Annotation }

// hasCAFile reports whether the CA comes by way of the token's volume.
func (e TokenEndpoint) hasCAFile() bool { return e.CAConfigMap != "" || e.CASigner != "" }

// ProxyMode is how requests to the metadata endpoint reach the proxy.
type ProxyMode string

// The modes.
const (
	// ProxyRedirect sends packets for the metadata endpoint to the proxy, which
	// every SDK follows. An init container sets it up, with uid 0 and NET_ADMIN.
	ProxyRedirect ProxyMode = "redirect"
	// ProxyEnv sets a variable, which some SDKs read. It needs no privilege at all.
	ProxyEnv ProxyMode = "env"
)

func (m ProxyMode) valid() bool { return m == ProxyRedirect || m == ProxyEnv }

// Proxy says how the proxy is injected.
type Proxy struct {
	// Image of the sidecar, and of the init container if InitImage is empty. May
	// have a digest. Empty means that pods cannot have a proxy.
	Image, InitImage string
	// Mode of pods that name none; ProxyRedirect if empty.
	Mode ProxyMode
	// PlainSidecar is for clusters with a server or kubelet before Kubernetes
	// 1.29, which know no native sidecars: the proxy is then a container among the
	// pod's, init containers have none, and a Job does not complete.
	PlainSidecar bool
	// LogLevel is debug, info, warn or error; empty means info.
	LogLevel string
	// Resources of each injected container; nil means small defaults.
	Resources *corev1.ResourceRequirements
}

// DefaultProxyResources is what an injected container asks for where nobody
// says otherwise: more than twice what the proxy needs under load, and all four
// figures that a ResourceQuota can insist on.
func DefaultProxyResources() corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("10m"),
			corev1.ResourceMemory: resource.MustParse("24Mi"),
		},
		Limits: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("500m"),
			corev1.ResourceMemory: resource.MustParse("64Mi"),
		},
	}
}

// withDefaults returns o with its empty fields filled in.
func (o Options) withDefaults() Options {
	if o.Cloud == (Cloud{}) {
		o.Cloud = Clouds()[0]
	}
	o.Audience = cmp.Or(o.Audience, o.Cloud.Audience)
	o.Proxy.InitImage = cmp.Or(o.Proxy.InitImage, o.Proxy.Image)
	o.Proxy.Mode = cmp.Or(o.Proxy.Mode, ProxyRedirect)
	o.Proxy.LogLevel = cmp.Or(o.Proxy.LogLevel, "info")
	if o.Proxy.Resources == nil {
		resources := DefaultProxyResources()
		o.Proxy.Resources = &resources
	}
	return o
}

// check returns all that is wrong with o, which has its defaults.
func (o Options) check() error {
	faults := faults{}
	if !isTenant(o.TenantID) {
		faults.add("tenant ID %q: want %s", o.TenantID, wantTenant)
	}
	if !isWebAddress(o.Cloud.AuthorityHost, "https") {
		faults.add("authority host %q: want an https URL without query", o.Cloud.AuthorityHost)
	}
	if o.Audience == "" {
		faults.add("audience is empty")
	}
	if o.TokenEndpoint != nil {
		o.TokenEndpoint.check(&faults, o.Audience)
	}
	o.Proxy.check(&faults)
	return errors.Join(faults...)
}

type faults []error

func (f *faults) add(format string, args ...any) { *f = append(*f, fmt.Errorf(format, args...)) }

func (e TokenEndpoint) check(faults *faults, audience string) {
	if problems := validation.IsQualifiedName(strings.ToLower(e.annotation())); e.Annotation == "" || len(problems) > 0 {
		faults.add("custom token endpoint annotation suffix %q: want what can end the name of an annotation, such as \"identity-binding\"", e.Annotation)
	}
	// A token for the endpoint is not to be accepted by Entra, or the pod could do without.
	if e.Audience == "" || strings.EqualFold(e.Audience, audience) {
		faults.add("custom token endpoint audience %q: want one that differs from the token's, %q", e.Audience, audience)
	}
	if !isWebAddress(e.URL, "https") {
		faults.add("custom token endpoint %q: want an https URL without query", e.URL)
	}
	given := 0
	for _, source := range []string{e.CAData, e.CAConfigMap, e.CASigner} {
		if source != "" {
			given++
		}
	}
	if given > 1 {
		faults.add("custom token endpoint CA is given %d times; want one of data, ConfigMap %q and signer %q", given, e.CAConfigMap, e.CASigner)
	}
	if e.CASelector != nil && e.CASigner == "" {
		faults.add("custom token endpoint CA has a label selector but no signer; want both")
	}
	switch block, _ := pem.Decode([]byte(e.CAData)); {
	case e.CAData == "":
	case block == nil:
		faults.add("custom token endpoint CA data holds no certificate; want PEM")
	default:
		if err := checkCertificates([]byte(e.CAData)); err != nil {
			faults.add("custom token endpoint CA data: %w; want PEM certificates and nothing else", err)
		}
	}
}

// checkCertificates refuses all but certificates in PEM: whatever else stands there, such as a private key, would be in every pod that asks.
func checkCertificates(data []byte) error {
	const begin = "-----BEGIN "
	rest := bytes.TrimSpace(data)
	for n := 1; len(rest) > 0; n++ {
		block, after := pem.Decode(rest)
		if block == nil || !bytes.HasPrefix(rest, []byte(begin+"CERTIFICATE-----")) || len(block.Headers) > 0 {
			return fmt.Errorf("block %d is no certificate", n)
		}
		// pem.Decode leaves out what it cannot read.
		if read := rest[:len(rest)-len(after)]; bytes.Count(read, []byte(begin)) > 1 {
			return fmt.Errorf("block %d is damaged", n)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("block %d: %w", n, err)
		}
		rest = bytes.TrimSpace(after)
	}
	return nil
}

func (p Proxy) check(faults *faults) {
	for _, image := range slices.Compact([]string{p.Image, p.InitImage}) {
		if image != "" && !isImage(image) {
			faults.add("proxy image %q: want a reference such as \"registry.example/proxy:v1\", or with a digest \"...@sha256:\" and 64 hex digits", image)
		}
	}
	if !p.Mode.valid() {
		faults.add("proxy mode %q: want %s", p.Mode, wantMode)
	}
	if levels := []string{"debug", "info", "warn", "error"}; !slices.Contains(levels, p.LogLevel) {
		faults.add("proxy log level %q: want one of %s", p.LogLevel, strings.Join(levels, ", "))
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		request, limit, ok := requestFits(*p.Resources, name)
		if !ok {
			faults.add("proxy %s request %s is above its limit %s", name, request, limit)
		}
	}
}

// isWebAddress reports whether address is a URL that a path can be added to.
func isWebAddress(address, scheme string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Scheme == scheme && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// isImage reports whether image can be a reference. The container runtime says
// more; what is caught here is what an operator is likely to get wrong.
func isImage(image string) bool {
	repository, digest, hasDigest := strings.Cut(image, "@")
	if strings.ContainsAny(image, " \t\r\n\"'") {
		return false
	}
	for segment := range strings.SplitSeq(repository, "/") { // this finds "https://", too
		if segment == "" || segment[0] == ':' || segment[len(segment)-1] == ':' {
			return false
		}
	}
	sum, ok := strings.CutPrefix(digest, "sha256:")
	return !hasDigest || ok && len(sum) == 64 && strings.Trim(sum, "0123456789abcdef") == ""
}
