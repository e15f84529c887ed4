package load_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/issuer-sync/issuer-sync/test/load"
)

// BenchmarkAccounts measures what ServiceAccounts cost the webhook binary, as
// it is installed: how soon after exec it is ready with all of them in memory
// and the CPU time that took it, what is resident then and after a second of
// reviews, and what ever was. Times are the best of three starts, as whatever
// else the machine does can only make them worse; memory is the worst.
func BenchmarkAccounts(b *testing.B) {
	c := newCluster(b)
	for _, count := range []int{1, 10_000, 50_000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			c.annotated(b, count)
			of := c.startup(b)
			for b.Loop() {
				for range 2 {
					of = of.join(c.startup(b))
				}
			}
			b.ReportMetric(of.ready.Seconds()*1e3, "ready-ms")
			b.ReportMetric(of.cpu.Seconds()*1e3, "ready-CPU-ms")
			b.ReportMetric(of.quiet/1e6, "RSS-MB")
			b.ReportMetric(of.loaded/1e6, "loaded-RSS-MB")
			b.ReportMetric(of.peak/1e6, "peak-MB")
			b.ReportMetric(0, "ns/op") // means nothing here
		})
	}
}

// BenchmarkStart measures how soon after exec the webhook answers its first
// review with a patch, and is ready, in a cluster where it has never run: it
// makes its certificates. It reports the medians of 11 starts.
func BenchmarkStart(b *testing.B) {
	c := newCluster(b)
	c.annotated(b, 1)
	var patched, ready []time.Duration
	for b.Loop() {
		for range 11 {
			s := c.startup(b)
			patched, ready = append(patched, s.patched), append(ready, s.ready)
		}
	}
	slices.Sort(patched)
	slices.Sort(ready)
	b.ReportMetric(patched[len(patched)/2].Seconds()*1e3, "patch-ms")
	b.ReportMetric(ready[len(ready)/2].Seconds()*1e3, "ready-ms")
	b.ReportMetric(0, "ns/op") // means nothing here
}

// startup is what one start of the webhook showed.
type startup struct {
	patched, ready      time.Duration // after exec
	cpu                 time.Duration // used until ready
	quiet, loaded, peak float64       // resident bytes: once ready, after reviews, and ever
}

// join takes the best times and the worst memory of both.
func (s startup) join(other startup) startup {
	return startup{
		min(s.patched, other.patched), min(s.ready, other.ready), min(s.cpu, other.cpu),
		max(s.quiet, other.quiet), max(s.loaded, other.loaded), max(s.peak, other.peak),
	}
}

// startup starts the webhook with its objects as they are installed, and ends
// it again.
func (c *cluster) startup(b *testing.B) startup {
	b.Helper()
	c.reinstall(b)
	process := c.start(b)
	defer process.stop()
	target := load.Target{Address: process.address(b), Path: reviewPath, Body: benchReview(b)}
	// There is no certificate yet: it is checked afterwards.
	untrusting := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	var s startup
	var connection *tls.ConnectionState
	s.patched = process.await(b, func() (err error) {
		_, connection, err = tryReview(b, untrusting, target)
		return err
	})
	s.ready = process.await(b, func() error { return process.ready(b) })
	s.cpu = time.Duration(process.cpuTicks(b) * float64(tick))
	target.TLS = &tls.Config{RootCAs: c.trusted(b), ServerName: serviceName}
	if _, err := connection.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: target.TLS.RootCAs, DNSName: serviceName}); err != nil {
		b.Fatalf("an API server would not have taken the first answer: %v", err)
	}
	process.logged(b, `(cached service accounts)`) // and what was left from reading them is freed
	s.quiet, _ = process.resident(b)
	if _, err := load.Load(b.Context(), target, 32, time.Second); err != nil {
		b.Fatal(err)
	}
	s.loaded, s.peak = process.resident(b)
	return s
}

// reinstall makes the two objects that the webhook writes as deploy/webhook has
// them: without certificates.
func (c *cluster) reinstall(b *testing.B) {
	b.Helper()
	secrets, configurations := c.Client().CoreV1().Secrets(ownNamespace), c.Client().AdmissionregistrationV1().MutatingWebhookConfigurations()
	for _, err := range []error{
		secrets.Delete(b.Context(), ownName+"-cert", metav1.DeleteOptions{}),
		configurations.Delete(b.Context(), ownName, metav1.DeleteOptions{}),
	} {
		if err != nil && !apierrors.IsNotFound(err) {
			b.Fatal(err)
		}
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: ownName + "-cert"}, Type: corev1.SecretTypeOpaque}
	if _, err := secrets.Create(b.Context(), secret, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	configuration := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: ownName},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "mutation.azure-workload-identity.io",
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				Service: &admissionregistrationv1.ServiceReference{Namespace: ownNamespace, Name: ownName, Path: new(reviewPath)},
			},
			AdmissionReviewVersions: []string{"v1"},
			SideEffects:             new(admissionregistrationv1.SideEffectClassNone),
		}},
	}
	if _, err := configurations.Create(b.Context(), configuration, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
}

// trusted is whom API servers trust as the webhook.
func (c *cluster) trusted(b *testing.B) *x509.CertPool {
	b.Helper()
	configuration, err := c.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Get(b.Context(), ownName, metav1.GetOptions{})
	if err != nil {
		b.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(configuration.Webhooks[0].ClientConfig.CABundle)
	return roots
}
