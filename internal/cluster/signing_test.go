package cluster_test

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/issuer-sync/issuer-sync/internal/cluster"
	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

const (
	tokenPath  = "/api/v1/namespaces/a/serviceaccounts/b/token"
	reviewPath = "/apis/authentication.k8s.io/v1/selfsubjectreviews"

	unobserved = "INFO cannot observe signing keys: "
	noRight    = unobserved + "no right to create tokens of the service account"
	leftOut    = "DEBUG left out a signing key"
)

func account() types.NamespacedName { return types.NamespacedName{Namespace: "a", Name: "b"} }

// answered renders an API server's answer to a TokenRequest.
func answered(t *testing.T, token string) string {
	t.Helper()
	return render(t, authenticationv1.TokenRequest{
		TypeMeta: metav1.TypeMeta{Kind: "TokenRequest", APIVersion: "authentication.k8s.io/v1"},
		Status:   authenticationv1.TokenRequestStatus{Token: token},
	})
}

// signedBy renders an answer with a token that a key has signed.
func signedBy(t *testing.T, keyID string) string {
	t.Helper()
	return answered(t, token(render(t, map[string]string{"alg": "RS256", "kid": keyID})))
}

// token has a header, and is not signed.
func token(header string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + ".CANARY.CANARY"
}

// reviewed renders an API server's answer to a SelfSubjectReview.
func reviewed(t *testing.T, user string) string {
	t.Helper()
	return render(t, authenticationv1.SelfSubjectReview{
		TypeMeta: metav1.TypeMeta{Kind: "SelfSubjectReview", APIVersion: "authentication.k8s.io/v1"},
		Status:   authenticationv1.SelfSubjectReviewStatus{UserInfo: authenticationv1.UserInfo{Username: user}},
	})
}

func denied(code int32, reason metav1.StatusReason) answer {
	return answer{int(code), metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: code, Reason: reason,
	}}
}

func render(t *testing.T, value any) string {
	t.Helper()
	body, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func checkKeys(t *testing.T, got, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSigningKeysReadsTheHeaderAlone(t *testing.T) {
	const unreadable = `the token's header is not a JSON object with one text as "kid"`
	for _, test := range []struct {
		name, token string
		want        string // the key ID
		err         string // in the log otherwise
	}{
		{name: "Kubernetes' own", token: token(`{"alg":"RS256","kid":"` + keytest.Key(t, 1).ID + `"}`), want: keytest.Key(t, 1).ID},
		{name: "the ID of another signer, any algorithm", token: token(`{"kid":"a/b \n ü","alg":"X"}`), want: "a/b \n ü"},
		{name: "the longest ID", token: token(`{"kid":"` + strings.Repeat("k", 1024) + `"}`), want: strings.Repeat("k", 1024)},
		{name: "too long an ID", token: token(`{"kid":"` + strings.Repeat("k", 1025) + `"}`), err: `the token's "kid" has 1025 bytes; want 1 to 1024`},
		{name: "no ID", token: token(`{"alg":"RS256"}`), err: `the token's "kid" has 0 bytes; want 1 to 1024`},
		{name: "an ID by another name", token: token(`{"KID":"a"}`), err: `the token's "kid" has 0 bytes; want 1 to 1024`},
		{name: "two IDs", token: token(`{"kid":"CANARY","kid":"b"}`), err: unreadable},
		{name: "a number as ID", token: token(`{"kid":1}`), err: unreadable},
		{name: "no JSON", token: token("CANARY"), err: unreadable},
		{name: "no base64url", token: "CANARY+.CANARY.CANARY", err: "the token has no header in base64url"},
		{name: "a word", token: "CANARY", err: unreadable},
		{name: "an empty header", token: ".CANARY.CANARY", err: unreadable},
		{name: "no token", err: `requesting a token of service account "a/b": the answer holds none`},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t)
			f.set(map[string]any{" " + tokenPath: answered(t, test.token)})
			var log logged
			c := newCluster(t, cluster.Config{Kubeconfig: f.kubeconfig, ServiceAccount: account()}, &log)
			got := c.SigningKeys(t.Context())
			if test.err == "" {
				checkKeys(t, got, map[string]string{f.origin(): test.want})
				log.check(t)
				return
			}
			checkKeys(t, got, nil)
			log.check(t, leftOut)
			if want := []string{"origin=" + f.origin(), "err=" + test.err}; !slices.Equal(log.attrs, want) {
				t.Errorf("logged %q\nwant   %q", log.attrs, want)
			}
		})
	}
}

func TestSigningKeysAsksForATokenOfNoOtherUse(t *testing.T) {
	f := newFake(t)
	f.set(map[string]any{" " + tokenPath: signedBy(t, "one")})
	newCluster(t, cluster.Config{Kubeconfig: f.kubeconfig, ServiceAccount: account()}, nil).SigningKeys(t.Context())
	var sent authenticationv1.TokenRequest
	if err := json.Unmarshal([]byte(f.sent[tokenPath]), &sent); err != nil {
		t.Fatal(err)
	}
	want := authenticationv1.TokenRequestSpec{Audiences: []string{"issuer-sync"}, ExpirationSeconds: new(int64(600))}
	if diff := cmp.Diff(want, sent.Spec); diff != "" {
		t.Error(diff)
	}
}

func TestSigningKeysAsksEachServer(t *testing.T) {
	f := newFake(t)
	one, six := "10.0.0.1:6443", "[fd00::2]:6443"
	var log logged
	c := newCluster(t, cluster.Config{Kubeconfig: f.kubeconfig, PerServer: true, Dial: f.dial, ServiceAccount: account()}, &log)
	// with returns answers for the token paths; the slice has both servers, which
	// are reached if they have an answer.
	with := func(configured, first, second any) map[string]any {
		answers := map[string]any{" " + slicePath: endpoints(t, "10.0.0.1", "fd00::2"), " " + tokenPath: configured}
		for address, answer := range map[string]any{one: first, six: second} {
			if answer != nil {
				answers[address+" /openid/v1/jwks"], answers[address+" "+tokenPath] = 500, answer
			}
		}
		return answers
	}
	forbidden := denied(403, metav1.StatusReasonForbidden)
	a, b, load := signedBy(t, "A"), signedBy(t, "B"), signedBy(t, "load balancer")
	balanced := map[string]string{f.origin(): "load balancer"}
	for _, round := range []struct {
		name    string
		answers map[string]any
		want    map[string]string
		log     []string
	}{
		{"none is reached: the configured address is asked", with(load, nil, nil), balanced, []string{leftOut, leftOut}},
		{"both answer: the configured address is not asked", with(load, a, b), map[string]string{f.single(one): "A", f.single(six): "B"}, nil},
		{"one fails", with(load, a, 500), map[string]string{f.single(one): "A"}, []string{leftOut}},
		{"one wants to be left alone", with(load, answer{429, "later"}, b), map[string]string{f.single(six): "B"}, []string{leftOut}},
		{"one does not know yet of the right", with(load, forbidden, b), map[string]string{f.single(six): "B"}, []string{leftOut}},
		{"both fail", with(load, 500, 401), balanced, []string{leftOut, leftOut}},
		{"all fail", with(500, 500, 500), nil, []string{leftOut, leftOut, leftOut}},
		{"the slice cannot be read: those last known are asked", func() map[string]any {
			answers := with(load, a, b)
			answers[" "+slicePath] = 500
			return answers
		}(), map[string]string{f.single(one): "A", f.single(six): "B"}, nil},
		{"there is no slice", map[string]any{" " + tokenPath: load}, balanced, nil},
		{"there is no right to create tokens, which is told", with(forbidden, forbidden, forbidden), nil, []string{leftOut, leftOut, noRight}},
		{"again, without another word", with(forbidden, forbidden, forbidden), nil, []string{leftOut, leftOut}},
		{"a failure in between", with(500, 500, 500), nil, []string{leftOut, leftOut, leftOut}},
		{"still no right, as has been told", with(403, 403, nil), nil, []string{leftOut, leftOut}},
		{"the right is given", with(load, a, b), map[string]string{f.single(one): "A", f.single(six): "B"}, nil},
		{"and taken again, which is told again", with(forbidden, forbidden, forbidden), nil, []string{leftOut, leftOut, noRight}},
		{"the account is gone", with(denied(404, metav1.StatusReasonNotFound), nil, nil), nil, []string{
			leftOut, leftOut, leftOut, unobserved + "the service account is missing",
		}},
	} {
		t.Run(round.name, func(t *testing.T) {
			f.set(round.answers)
			log.lines = nil
			checkKeys(t, c.SigningKeys(t.Context()), round.want)
			log.check(t, round.log...)
		})
	}
}

// An API server that wants to be left alone must not hold up a round.
func TestSigningKeysAsksOnce(t *testing.T) {
	f := newFake(t)
	later := denied(429, metav1.StatusReasonTooManyRequests)
	f.set(map[string]any{" " + reviewPath: later, " " + tokenPath: later})
	for i, config := range []cluster.Config{{Kubeconfig: f.kubeconfig}, {Kubeconfig: f.kubeconfig, ServiceAccount: account()}} {
		checkKeys(t, newCluster(t, config, nil).SigningKeys(t.Context()), nil)
		if f.asked != i+1 {
			t.Errorf("%d requests so far, want %d", f.asked, i+1)
		}
	}
}

func TestSigningKeysTellsTheCure(t *testing.T) {
	const other = "cure=set serviceAccount of the cluster source to one whose tokens these credentials may create"
	for _, test := range []struct {
		name          string
		review, token any
		want          string
	}{
		{"no right to create tokens", reviewed(t, "system:serviceaccount:a:b"), denied(403, metav1.StatusReasonForbidden), `cure=allow it with a Role in namespace "a" that has the rule ` +
			`{apiGroups: [""], resources: [serviceaccounts/token], resourceNames: ["b"], verbs: [create]}, or set serviceAccount of the cluster source to another`},
		{"a refusal by a proxy", reviewed(t, "system:serviceaccount:a:b"), 403, `cure=allow it with a Role in namespace "a" that has the rule ` +
			`{apiGroups: [""], resources: [serviceaccounts/token], resourceNames: ["b"], verbs: [create]}, or set serviceAccount of the cluster source to another`},
		{"no such account", reviewed(t, "system:serviceaccount:a:b"), denied(404, metav1.StatusReasonNotFound), `cure=create service account "a/b", or set serviceAccount of the cluster source to another`},
		{"no service account", reviewed(t, "kubernetes-admin"), nil, other},
		{"an odd name", reviewed(t, "system:serviceaccount:a"), nil, other},
		{"an odd prefix", reviewed(t, "serviceaccount:a:b"), nil, other},
		{"nobody", denied(403, metav1.StatusReasonForbidden), nil, other},
		{"an old cluster", denied(404, metav1.StatusReasonNotFound), nil, other},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t)
			f.set(map[string]any{" " + reviewPath: test.review, " " + tokenPath: test.token})
			var log logged
			c := newCluster(t, cluster.Config{Kubeconfig: f.kubeconfig}, &log)
			for range 2 {
				checkKeys(t, c.SigningKeys(t.Context()), nil)
			}
			told := slices.DeleteFunc(log.attrs, func(attr string) bool { return !strings.HasPrefix(attr, "cure=") })
			if diff := cmp.Diff([]string{test.want}, told); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSigningKeysLearnsItsAccountOnce(t *testing.T) {
	f := newFake(t)
	var log logged
	c := newCluster(t, cluster.Config{Kubeconfig: f.kubeconfig}, &log)
	for _, failure := range []any{500, 404, "<html>", reviewed(t, "")} {
		f.set(map[string]any{" " + reviewPath: failure, " " + tokenPath: signedBy(t, "A")})
		checkKeys(t, c.SigningKeys(t.Context()), nil)
	}
	log.check(t, leftOut, leftOut, leftOut, leftOut) // a proxy's 404 is a failure like others
	for _, review := range []any{reviewed(t, "system:serviceaccount:a:b"), reviewed(t, "system:serviceaccount:c:d")} {
		f.set(map[string]any{" " + reviewPath: review, " " + tokenPath: signedBy(t, "A")})
		checkKeys(t, c.SigningKeys(t.Context()), map[string]string{f.origin(): "A"})
	}
}

func TestSigningKeysLogsNeitherTokensNorBodies(t *testing.T) {
	f := newFake(t)
	var log logged
	own := newCluster(t, cluster.Config{Kubeconfig: f.kubeconfig, PerServer: true}, &log)
	other := newCluster(t, cluster.Config{Kubeconfig: f.kubeconfig, PerServer: true, ServiceAccount: account()}, &log)
	for _, answer := range []any{301, 401, 403, 404, 500, "CANARY", answered(t, "CANARY"), answered(t, token("CANARY"))} {
		f.set(map[string]any{" " + reviewPath: answer, " " + slicePath: answer, " " + tokenPath: answer})
		own.SigningKeys(t.Context())
		other.SigningKeys(t.Context())
	}
	if text := strings.Join(log.attrs, "\n"); len(log.attrs) < 16 || strings.Contains(text, "CANARY") {
		t.Errorf("logged %s", text)
	}
}

// testSigningKeys is about two API servers that sign with different keys.
func testSigningKeys(t *testing.T, kube *servers.Kube, configured string) {
	config := cluster.Config{
		Kubeconfig: kube.Kubeconfig(t), Dial: kube.Dial,
		ServiceAccount: types.NamespacedName{Namespace: "default", Name: "default"},
	}
	checkKeys(t, newCluster(t, config, nil).SigningKeys(t.Context()), map[string]string{configured: keytest.Key(t, 1).ID})
	config.PerServer = true
	var log logged
	c := newCluster(t, config, &log)
	got := c.SigningKeys(t.Context())
	first, second := origins(kube)
	checkKeys(t, got, map[string]string{first: keytest.Key(t, 1).ID, second: keytest.Key(t, 2).ID})
	var observed []string
	for _, o := range c.Observe(t.Context()) {
		if kid, ok := got[o.Origin]; ok && slices.Contains(o.Keys.IDs(), kid) {
			observed = append(observed, o.Origin)
		}
	}
	if want := slices.Sorted(maps.Keys(got)); !slices.Equal(observed, want) {
		t.Errorf("the servers %q show the keys that they sign with, want %q", observed, want)
	}
	config.ServiceAccount.Name = "missing"
	checkKeys(t, newCluster(t, config, &log).SigningKeys(t.Context()), nil)
	log.check(t, leftOut, leftOut, unobserved+"the service account is missing")
}

func testSigningWithoutRight(t *testing.T, kube *servers.Kube, _ string) {
	for path, want := range map[string][]string{
		kube.ServiceAccountKubeconfig(t, "bare", "publisher"): {leftOut, noRight, leftOut, leftOut},
		kube.Kubeconfig(t): {unobserved + "the credentials are not those of a service account"},
	} {
		var log logged
		c := newCluster(t, cluster.Config{Kubeconfig: path, PerServer: true, Dial: kube.Dial}, &log)
		for range 3 {
			checkKeys(t, c.SigningKeys(t.Context()), nil)
		}
		log.check(t, want...)
	}
}

// testSigningAsOneself is about an account that has the right which the log
// names. It may read the EndpointSlice since another test.
func testSigningAsOneself(t *testing.T, kube *servers.Kube, _ string) {
	kube.Servers()[1].Restart(t, servers.ServerConfig{
		SigningKey: keytest.RSA(t, 2), PublicKeys: []crypto.PublicKey{keytest.RSA(t, 1).Public()}, // otherwise it does not know who asks
	})
	path := kube.ServiceAccountKubeconfig(t, "permitted", "publisher")
	grant(t, kube, metav1.ObjectMeta{Namespace: "permitted", Name: "signing"}, rbacv1.PolicyRule{
		APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, ResourceNames: []string{"publisher"}, Verbs: []string{"create"},
	})
	c := newCluster(t, cluster.Config{Kubeconfig: path, PerServer: true, Dial: kube.Dial}, nil)
	var got map[string]string
	await(t, func() bool { // the authorizers learn of the role a little later
		got = c.SigningKeys(t.Context())
		return len(got) == 2
	})
	first, second := origins(kube)
	checkKeys(t, got, map[string]string{first: keytest.Key(t, 1).ID, second: keytest.Key(t, 2).ID})
}
