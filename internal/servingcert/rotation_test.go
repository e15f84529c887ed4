package servingcert_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// rotateAt is when a certificate is replaced.
const rotateAt = lifetime * 2 / 3

func TestFirstStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newFake(t)
		replicas := []*replica{start(t, api), start(t, api), start(t, api)}
		for _, r := range replicas {
			if err := r.Ready(); err == nil || err.Error() != "there is no certificate to serve yet" || r.Roots() != nil {
				t.Errorf("before the start: %v", err)
			}
			if pair, err := r.GetCertificate(nil); pair != nil || err == nil {
				t.Errorf("before the start there is a certificate, or no error: %v", err)
			}
		}
		for _, r := range replicas {
			until(t, slack, func() bool { return r.Ready() == nil })
			if err := r.call(api.agreed()); err != nil {
				t.Error(err)
			}
			if !r.leaf().Equal(replicas[0].leaf()) {
				t.Error("the replicas serve different certificates")
			}
			if lines := strings.Join(r.logged(), "\n"); strings.Contains(lines, "WARN") {
				t.Errorf("a lost race is a problem:\n%s", lines)
			}
		}
		if n := api.written(secretPath); n != 1 {
			t.Errorf("%d certificates were made", n)
		}
		if label := api.secret.Labels["app"]; label != "webhook" {
			t.Errorf("the label of the Secret is %q now", label)
		}
	})
}

func TestSteadyStateWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newFake(t)
		r := start(t, api)
		until(t, slack, func() bool { return r.Ready() == nil })
		r.logged()
		time.Sleep(rotateAt - time.Minute)
		r.checkLog(t)
		if secret, webhooks := api.written(secretPath), api.written(webhooksPath); secret != 1 || webhooks != 1 {
			t.Errorf("the Secret was written %d times, the webhooks %d times", secret, webhooks)
		}
	})
}

// TestRotation is about API servers that hear of a new caBundle up to four
// minutes late, and about a replica that hears nothing from the middle of a
// rotation until its certificate has nearly expired.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newFake(t)
		a, b, cut := start(t, api), start(t, api), start(t, api)
		for _, r := range []*replica{a, b, cut} {
			until(t, slack, func() bool { return r.Ready() == nil })
		}
		time.Sleep(4 * time.Minute) // those API servers, too, have the first caBundle
		first := a.leaf()
		calls := callAll(api, 5*time.Second, []time.Duration{0, 4 * time.Minute}, a, b, cut)

		until(t, rotateAt, func() bool { return count(api.agreed()) == 2 })
		cut.set(hang)
		time.Sleep(settleTime - 2*lookTime)
		if !a.leaf().Equal(first) || !b.leaf().Equal(first) {
			t.Error("the next certificate is served before it is trusted everywhere")
		}
		until(t, 5*lookTime, func() bool { return !a.leaf().Equal(first) && !b.leaf().Equal(first) })
		if !a.leaf().Equal(b.leaf()) || !cut.leaf().Equal(first) {
			t.Error("want a and b to serve the new certificate, cut the old one")
		}
		if got := count(api.agreed()); got != 2 {
			t.Errorf("the caBundle has %d CAs, want the new one and the old one", got)
		}
		time.Sleep(time.Until(first.NotAfter) - time.Minute)
		cut.set(nil)
		until(t, 2*lookTime, func() bool { return cut.leaf().Equal(a.leaf()) })
		time.Sleep(time.Minute + 2*lookTime)
		if got := count(api.agreed()); got != 1 {
			t.Errorf("the caBundle has %d CAs after the old one has expired", got)
		}
		time.Sleep(lifetime / 2) // and another one
		calls.check(t)
		if got := api.written(secretPath); got != 6 {
			t.Errorf("the Secret was written %d times; want 6: made; staged, taken, tidied; staged, taken", got)
		}
	})
}

func TestRotationIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newFake(t)
		r := start(t, api)
		until(t, slack, func() bool { return r.Ready() == nil })
		time.Sleep(lifetime + time.Minute)
		var short []string
		for _, line := range r.logged() {
			line, _, _ = strings.Cut(line, " not_after")
			short = append(short, line)
		}
		want := []string{
			"INFO changed the Secret secret=team/webhook-tls change=" + begin,
			"INFO wrote the CA bundle webhook_configuration=webhook webhooks=[pods.example.com more.example.com] certificates=1",
			"INFO serving a new certificate",
			"INFO changed the Secret secret=team/webhook-tls change=" + stage,
			"INFO wrote the CA bundle webhook_configuration=webhook webhooks=[pods.example.com more.example.com] certificates=2",
			"INFO changed the Secret secret=team/webhook-tls change=" + promote, // the bundle is as it should be
			"INFO serving a new certificate",
			"INFO changed the Secret secret=team/webhook-tls change=" + tidy,
			"INFO wrote the CA bundle webhook_configuration=webhook webhooks=[pods.example.com more.example.com] certificates=1",
		}
		if diff := cmp.Diff(want, short); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	})
}

// TestSlowReplica: one that was held up between its two reads, while another
// one made the next certificate, does not take the next CA out of the caBundle.
func TestSlowReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newFake(t)
		slow, fast := start(t, api), start(t, api)
		until(t, slack, func() bool { return slow.Ready() == nil && fast.Ready() == nil })
		both := func() bool { return count(api.agreed()) == 2 }
		held, resumed := make(chan struct{}), make(chan struct{})
		slow.set(func(req *http.Request) (*http.Response, error) {
			res, err := api.RoundTrip(req)
			select {
			case <-held:
			default:
				close(held)
				<-resumed
			}
			return res, err
		})
		<-held
		api.edit(func(data map[string][]byte) { clear(data) }) // a reason to make the next one that slow has not seen
		until(t, lookTime+slack, both)
		close(resumed)
		for range 10_000 {
			if !both() {
				t.Fatal("the next CA was taken out of the caBundle")
			}
			time.Sleep(time.Millisecond)
		}
	})
}

func TestWaitBeginsAgainWhenTheBundleIsOverwritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newFake(t)
		r := start(t, api)
		until(t, slack, func() bool { return r.Ready() == nil })
		first, old := r.leaf(), api.agreed()
		until(t, lifetime, func() bool { return count(api.agreed()) == 2 })
		time.Sleep(settleTime - lookTime)
		api.overwrite(0, old)
		until(t, lookTime+slack, func() bool { return count(api.agreed()) == 2 })
		took := until(t, 2*settleTime, func() bool { return !r.leaf().Equal(first) })
		if took < settleTime-slack {
			t.Errorf("the next certificate was served %v after its CA came back; want %v", took, settleTime)
		}
	})
}

func TestExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newFake(t)
		r := start(t, api)
		until(t, slack, func() bool { return r.Ready() == nil })
		end := r.leaf().NotAfter
		r.set(hang)
		time.Sleep(time.Until(end) - time.Second)
		if err := r.Ready(); err != nil {
			t.Errorf("an API server that does not answer makes the replica not ready: %v", err)
		}
		time.Sleep(time.Second)
		want := "the certificate expired at " + end.Format(time.RFC3339) + ": reading MutatingWebhookConfiguration webhook: "
		if err := r.Ready(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s...", err, want)
		}
		r.set(nil)
		until(t, 2*lookTime, func() bool { return r.Ready() == nil })
		if err := r.call(api.agreed()); err != nil || count(api.agreed()) != 1 {
			t.Errorf("%d CAs, %v", count(api.agreed()), err)
		}
	})
}
