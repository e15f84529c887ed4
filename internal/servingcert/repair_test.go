package servingcert_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOverwrittenBundleIsRepaired(t *testing.T) {
	for _, test := range []struct {
		name  string
		write func(api *fake)
	}{
		{"emptied", func(api *fake) { api.overwrite(0, nil); api.overwrite(1, nil) }},
		{"emptied in one webhook", func(api *fake) { api.overwrite(1, nil) }},
		{"something else", func(api *fake) { api.overwrite(0, []byte("\n")) }},
		{"another CA added", func(api *fake) { api.overwrite(0, append(api.bundle(), api.bundle()...)) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := newFake(t)
				a, b := start(t, api), start(t, api)
				until(t, slack, func() bool { return a.Ready() == nil && b.Ready() == nil })
				want, leaf := string(api.agreed()), a.leaf()
				test.write(api)
				until(t, lookTime+slack, func() bool { return string(api.agreed()) == want })
				time.Sleep(time.Minute)
				if !a.leaf().Equal(leaf) || !b.leaf().Equal(leaf) || api.written(secretPath) != 1 {
					t.Error("the certificate changed, too")
				}
			})
		})
	}
}

// TestSecretEdits is about what people do to the Secret while replicas run: no
// call fails, and in the end there is a new certificate where the old one may
// be lost, or somebody wanted to be rid of it.
func TestSecretEdits(t *testing.T) {
	const damaged = "WARN found the Secret damaged secret=team/webhook-tls err="
	changed := func(what string) string { return "INFO changed the Secret secret=team/webhook-tls change=" + what }
	for _, test := range []struct {
		name string
		edit func(data map[string][]byte)
		log  []string // of the repair
		next bool     // whether another certificate follows at once
	}{
		{"emptied", func(data map[string][]byte) { clear(data) }, []string{changed(restore)}, true},
		{"keys with nothing in them", func(data map[string][]byte) {
			for key := range data {
				data[key] = nil
			}
		}, []string{changed(restore)}, true},
		{"the key is lost", func(data map[string][]byte) { delete(data, "tls.key") }, []string{
			damaged + "tls.crt, tls.key, ca.crt: reading the certificate and its key: tls: failed to find any PEM data in key input", changed(restore),
		}, true},
		{"the CA is lost", func(data map[string][]byte) { delete(data, "ca.crt") }, []string{
			damaged + "tls.crt, tls.key, ca.crt: reading the CA: there is no certificate in PEM", changed(restore),
		}, true},
		{"a private key for a CA", func(data map[string][]byte) { data["ca.crt"] = data["tls.key"] }, []string{
			damaged + "tls.crt, tls.key, ca.crt: reading the CA: there is no certificate in PEM", changed(restore),
		}, true},
		{"only a next one, which is nonsense", func(data map[string][]byte) { clear(data); data["next-ca.crt"] = []byte("x") }, []string{
			damaged + "tls.crt: it is empty\nnext-tls.crt, next-tls.key, next-ca.crt: reading the certificate and its key: " +
				"tls: failed to find any PEM data in certificate input", changed(restore),
		}, true},
		{"a next one, which is nonsense", func(data map[string][]byte) { data["next-tls.key"] = []byte("x") }, []string{
			damaged + "next-tls.crt, next-tls.key, next-ca.crt: reading the certificate and its key: " +
				"tls: failed to find any PEM data in certificate input", changed(tidy),
		}, false},
		{"an old CA, which is nonsense", func(data map[string][]byte) { data["previous-ca.crt"] = []byte("x") }, []string{
			damaged + "previous-ca.crt: there is no certificate in PEM", changed(tidy),
		}, false},
		{"somebody else's entry", func(data map[string][]byte) { data["theirs"] = []byte("x") }, nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := newFake(t)
				r := start(t, api)
				until(t, slack, func() bool { return r.Ready() == nil })
				r.logged()
				leaf := r.leaf()
				calls := callAll(api, 5*time.Second, []time.Duration{0}, r)
				api.edit(test.edit)
				time.Sleep(lookTime + slack)
				var got []string
				for _, line := range r.logged() {
					if line, _, _ = strings.Cut(line, " not_after="); !strings.HasPrefix(line, "INFO wrote the CA bundle") {
						got = append(got, line)
					}
				}
				if diff := cmp.Diff(test.log, got); diff != "" {
					t.Errorf("log (-want +got):\n%s", diff)
				}
				time.Sleep(settleTime + 2*lookTime)
				if replaced := !r.leaf().Equal(leaf); replaced != test.next {
					t.Errorf("another certificate: %v, want %v", replaced, test.next)
				}
				for key := range api.data() {
					if strings.HasPrefix(key, "next-") {
						t.Errorf("%s is left", key)
					}
				}
				calls.check(t)
			})
		})
	}
}

// TestRestartFindsADamagedSecret: nobody holds the certificate any more.
func TestRestartFindsADamagedSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newFake(t)
		r := start(t, api)
		until(t, slack, func() bool { return r.Ready() == nil })
		r.end()
		<-r.done
		api.edit(func(data map[string][]byte) { data["tls.key"] = []byte("x") })
		r = start(t, api)
		until(t, slack, func() bool { return r.Ready() == nil })
		if err := r.call(api.agreed()); err != nil || count(api.agreed()) != 1 {
			t.Errorf("%d CAs, %v", count(api.agreed()), err)
		}
	})
}

func TestRestartServesTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newFake(t)
		r := start(t, api)
		until(t, slack, func() bool { return r.Ready() == nil })
		r.end()
		<-r.done
		again := start(t, api)
		until(t, slack, func() bool { return again.Ready() == nil })
		if !again.leaf().Equal(r.leaf()) || api.written(secretPath) != 1 {
			t.Error("it serves another certificate")
		}
	})
}

// TestForeignSecret: what somebody else keeps in a Secret is not overwritten.
func TestForeignSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newFake(t)
		theirs := map[string][]byte{"tls.crt": []byte("theirs"), "password": []byte("CANARY")}
		api.edit(func(data map[string][]byte) {
			data["tls.crt"], data["password"] = theirs["tls.crt"], theirs["password"]
		})
		r := start(t, api)
		time.Sleep(5 * time.Minute)
		const problem = "reading Secret team/webhook-tls: it holds data that this program did not write; name another, empty Secret, " +
			"serve these certificates from files, or give the Secret up with " +
			"`kubectl --namespace team annotate secret webhook-tls issuer-sync.github.io/serving-certificates=`"
		r.checkLog(t, "WARN problem subject=serving certificate err="+problem)
		if err := r.Ready(); err == nil || err.Error() != "there is no certificate to serve yet: "+problem {
			t.Error(err)
		}
		if diff := cmp.Diff(theirs, api.data()); diff != "" || api.bundle() != nil {
			t.Errorf("their Secret (-want +got):\n%s\ncaBundle: %q", diff, api.bundle())
		}
		api.edit(func(data map[string][]byte) { clear(data) })
		until(t, 2*slack, func() bool { return r.Ready() == nil })
	})
}

func TestProblems(t *testing.T) {
	const (
		secret = " Secret team/webhook-tls: secrets \"x\" is forbidden: no: allow it with a Role in namespace \"team\" that has the rule " +
			`{apiGroups: [""], resources: [secrets], resourceNames: ["webhook-tls"], verbs: [get, patch]}`
		webhooks = " MutatingWebhookConfiguration webhook: secrets \"x\" is forbidden: no: allow it with a ClusterRole that has the rule " +
			`{apiGroups: [admissionregistration.k8s.io], resources: [mutatingwebhookconfigurations], resourceNames: ["webhook"], verbs: [get, patch]}`
	)
	deny := func(route string) func(*fake, bool) { return func(api *fake, on bool) { api.deny(route, on) } }
	for _, test := range []struct {
		name string
		turn func(api *fake, on bool)
		want string
	}{
		{"the Secret may not be read", deny("GET " + secretPath), "reading" + secret},
		{"the Secret may not be changed", deny("PATCH " + secretPath), "changing" + secret},
		{"the webhooks may not be read", deny("GET " + webhooksPath), "reading" + webhooks},
		{"the webhooks may not be changed", deny("PATCH " + webhooksPath), "changing" + webhooks},
		{"there is no Secret", func(api *fake, on bool) {
			other := newFake(api.t).secret
			if on {
				other = nil
			}
			api.replace(func() { api.storeSecret(other) })
		}, `reading Secret team/webhook-tls: secrets "webhook-tls" not found: create it with ` +
			"`kubectl --namespace team create secret generic webhook-tls`"},
		{"there are no webhooks", func(api *fake, on bool) {
			other := newFake(api.t).webhooks
			if on {
				other = nil
			}
			api.replace(func() { api.storeWebhooks(other) })
		}, `reading MutatingWebhookConfiguration webhook: mutatingwebhookconfigurations.admissionregistration.k8s.io "webhook" not found: ` +
			"create it, without a caBundle"},
		{"the configuration is empty", func(api *fake, on bool) {
			other := newFake(api.t).webhooks
			if on {
				other.Webhooks = nil
			}
			api.replace(func() { api.storeWebhooks(other) })
		}, "reading MutatingWebhookConfiguration webhook: it has no webhooks"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := newFake(t)
				test.turn(api, true)
				r := start(t, api)
				time.Sleep(time.Minute)
				if err := r.Ready(); err == nil || err.Error() != "there is no certificate to serve yet: "+test.want {
					t.Errorf("got  %v\nwant %s", err, test.want)
				}
				test.turn(api, false)
				until(t, 2*slack, func() bool { return r.Ready() == nil })
				lines := strings.Join(r.logged(), "\n")
				if strings.Count(lines, "WARN problem") != 1 || !strings.Contains(lines, "INFO problem is over subject=serving certificate") {
					t.Errorf("log:\n%s", lines)
				}
			})
		})
	}
}

// TestStrangers: what stands between a replica and its API server may answer
// anything; nothing is written and nothing is quoted.
func TestStrangers(t *testing.T) {
	for _, test := range []struct {
		name string
		res  func() *http.Response
		want string
	}{
		{"a login page", func() *http.Response { return answer(http.StatusOK, "<html>CANARY") }, "serializer for text/html doesn't exist"},
		{"an empty object", func() *http.Response { return answer(http.StatusOK, struct{}{}) }, "the answer is not from a Kubernetes API server: it has no resourceVersion"},
		{"a gateway", func() *http.Response { return answer(http.StatusBadGateway, "CANARY") }, "answered 502 Bad Gateway, without a Status of Kubernetes"},
		{"not found", func() *http.Response { return answer(http.StatusNotFound, "CANARY") }, "answered 404 Not Found, without a Status of Kubernetes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := newFake(t)
				r := start(t, api)
				until(t, slack, func() bool { return r.Ready() == nil })
				r.logged()
				r.set(func(*http.Request) (*http.Response, error) { return test.res(), nil })
				time.Sleep(lifetime / 2)
				r.checkLog(t, "WARN problem subject=serving certificate err=reading MutatingWebhookConfiguration webhook: "+test.want)
				if err := r.Ready(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestNamesThatDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newFake(t)
		a := start(t, api)
		until(t, slack, func() bool { return a.Ready() == nil })
		calls := callAll(api, 20*time.Second, []time.Duration{0}, a)
		b := start(t, api, "other.team.svc")
		until(t, slack, func() bool { return b.Ready() == nil })
		until(t, lookTime+slack, func() bool { return a.leaf().Equal(b.leaf()) })
		if diff := cmp.Diff([]string{"other.team.svc", serviceName}, b.leaf().DNSNames); diff != "" {
			t.Error(diff)
		}
		time.Sleep(rotateAt - time.Minute)
		if n := api.written(secretPath); n > 3 { // two were made, and the first one's CA may have gone
			t.Errorf("the Secret was written %d times", n)
		}
		time.Sleep(lifetime)
		if n := api.written(secretPath); n > 12 {
			t.Errorf("the Secret was written %d times", n)
		}
		calls.check(t)
	})
}
