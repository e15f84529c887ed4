package cluster_test

import (
	"context"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/issuer-sync/issuer-sync/internal/cluster"
	"github.com/issuer-sync/issuer-sync/internal/keytest"
)

func newCluster(t *testing.T, config cluster.Config, log *logged) *cluster.Cluster {
	t.Helper()
	if log == nil {
		log = new(logged)
	}
	config.Log = slog.New(log)
	c, err := cluster.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// logged keeps what is logged.
type logged struct {
	mu    sync.Mutex
	lines []string // level, message and reason
	attrs []string
}

func (l *logged) Enabled(context.Context, slog.Level) bool { return true }
func (l *logged) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logged) WithGroup(string) slog.Handler            { return l }

func (l *logged) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "reason" {
			line += ": " + a.Value.String()
		}
		l.attrs = append(l.attrs, a.String())
		return true
	})
	l.lines = append(l.lines, line)
	return nil
}

func (l *logged) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines)
}

func (l *logged) check(t *testing.T, want ...string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if diff := cmp.Diff(want, l.lines); diff != "" {
		t.Error(diff)
	}
}

const slicePath = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"

// fake is a control plane that answers as a test wants: one HTTPS server for
// all addresses, with a certificate for the name and the address that clients
// expect.
type fake struct {
	server     *httptest.Server
	kubeconfig string

	mu    sync.Mutex
	asked int               // requests so far
	sent  map[string]string // the last body by path
	// answers by "host /path": a body, a status, or both. Hosts are the addresses
	// that clients dialled; "" is the configured one.
	answers map[string]any
}

// answer is a status other than 200 with an object as body.
type answer struct {
	status int
	body   any
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{answers: make(map[string]any), sent: make(map[string]string)}
	f.server = httptest.NewUnstartedServer(f)
	f.server.Config.ErrorLog = log.New(t.Output(), "", 0)
	key := keytest.EC(t, elliptic.P256())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		DNSNames: []string{"kubernetes.default.svc"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	f.server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	f.server.StartTLS()
	t.Cleanup(f.server.Close)
	file := clientcmdapi.NewConfig()
	file.Clusters["a"] = &clientcmdapi.Cluster{
		Server: f.server.URL, CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
	}
	file.AuthInfos["a"] = &clientcmdapi.AuthInfo{Token: "CANARY"}
	f.kubeconfig = writeKubeconfig(t, file)
	return f
}

func (f *fake) set(answers map[string]any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers = answers
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.asked++
	f.sent[r.URL.Path] = string(body)
	found := f.answers[strings.TrimPrefix(r.Host, f.server.Listener.Addr().String())+" "+r.URL.Path]
	f.mu.Unlock()
	switch found := found.(type) {
	case string:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, found)
	case answer:
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(found.status)
		_ = json.NewEncoder(w).Encode(found.body)
	case int:
		w.Header().Set("Location", "/elsewhere")
		http.Error(w, "CANARY "+r.Header.Get("Authorization"), found)
	default:
		http.NotFound(w, r)
	}
}

// dial leads every address for which there are answers to the fake.
func (f *fake) dial(ctx context.Context, network, address string) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	here := f.server.Listener.Addr().String()
	if _, ok := f.answers[address+" /openid/v1/jwks"]; !ok && address != here {
		return nil, errors.New("unreachable")
	}
	return (&net.Dialer{}).DialContext(ctx, network, here)
}

func (f *fake) origin() string { return "cluster " + f.server.URL }

// single is the origin of a single API server.
func (f *fake) single(address string) string {
	return "API server " + address + " of " + f.server.Listener.Addr().String()
}

func jwks(t *testing.T, numbers ...int) string {
	t.Helper()
	body, err := keytest.Set(t, numbers...).JWKS()
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// endpoints renders the EndpointSlice of the given addresses, the first of
// which is not ready.
func endpoints(t *testing.T, addresses ...string) string {
	t.Helper()
	slice := discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{Kind: "EndpointSlice", APIVersion: "discovery.k8s.io/v1"},
		Ports:    []discoveryv1.EndpointPort{{Name: new("https"), Port: new(int32(6443))}},
	}
	for i, address := range addresses {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: new(i > 0)},
		})
	}
	body, err := json.Marshal(slice)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestObserveRefusesBadAnswers(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer any
		want   string
	}{
		{"a redirect", 302, "reading the key set: answered 302 Found; want 200 OK, redirects are not followed"},
		{"a fault", 503, "reading the key set: answered 503 Service Unavailable; want 200 OK"},
		{"a login page", "<html>CANARY", "not a JWK set: it looks like HTML or XML"},
		{"a Status", `{"kind":"Status"}`, `not a JWK set: member "keys" is missing`},
		{"no key", `{"keys":[]}`, "no usable key"},
		{"a private key", `{"keys":[{"kty":"RSA","d":"CANARY"}]}`, `block 1: private key: member "d"; remove it and consider the key lost`},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t)
			f.set(map[string]any{" /openid/v1/jwks": test.answer})
			c := newCluster(t, cluster.Config{Kubeconfig: f.kubeconfig}, nil)
			check(t, c.Observe(t.Context()), []summary{{f.origin(), nil, f.origin() + ": " + test.want}})
		})
	}
}

func TestObserveAsksEachServer(t *testing.T) {
	f := newFake(t)
	var log logged
	c := newCluster(t, cluster.Config{Kubeconfig: f.kubeconfig, PerServer: true, Dial: f.dial}, &log)
	own := summary{f.origin(), ids(t, 1), ""}
	one, six := summary{f.single("10.0.0.1:6443"), ids(t, 1), ""}, summary{f.single("[fd00::2]:6443"), ids(t, 2), ""}
	const cannot = "cannot ask each API server: "
	for _, round := range []struct {
		name    string
		answers map[string]any
		want    []summary
		log     []string
	}{
		{
			"none has ever been reached",
			map[string]any{" /openid/v1/jwks": jwks(t, 1), " " + slicePath: endpoints(t, "10.0.0.1", "fd00::2")},
			[]summary{own},
			[]string{"INFO " + cannot + "none of them has answered here yet; asking the configured address alone"},
		},
		{
			"again, without another word",
			map[string]any{" /openid/v1/jwks": jwks(t, 1), " " + slicePath: endpoints(t, "10.0.0.1", "fd00::2")},
			[]summary{own},
			nil,
		},
		{"both are reached, ready or not", map[string]any{
			" /openid/v1/jwks": jwks(t, 1), " " + slicePath: endpoints(t, "10.0.0.1", "fd00::2"),
			"10.0.0.1:6443 /openid/v1/jwks": jwks(t, 1), "[fd00::2]:6443 /openid/v1/jwks": jwks(t, 2),
		}, []summary{own, one, six}, nil},
		{"one fails from now on", map[string]any{
			" /openid/v1/jwks": jwks(t, 1), " " + slicePath: endpoints(t, "10.0.0.1", "fd00::2"),
			"10.0.0.1:6443 /openid/v1/jwks": jwks(t, 1), "[fd00::2]:6443 /openid/v1/jwks": 500,
		}, []summary{own, one, {six.Origin, nil, six.Origin + ": reading the key set: answered 500 Internal Server Error; want 200 OK"}}, nil},
		{"both fail, which is told: they have answered once", map[string]any{
			" /openid/v1/jwks": jwks(t, 1), " " + slicePath: endpoints(t, "10.0.0.1", "fd00::2"),
			"10.0.0.1:6443 /openid/v1/jwks": "<html>", "[fd00::2]:6443 /openid/v1/jwks": 500,
		}, []summary{
			own,
			{one.Origin, nil, one.Origin + ": not a JWK set: it looks like HTML or XML"},
			{six.Origin, nil, six.Origin + ": reading the key set: answered 500 Internal Server Error; want 200 OK"},
		}, nil},
		{"the configured address fails: the others are asked all the same, and it tells enough", map[string]any{
			" /openid/v1/jwks": 502, " " + slicePath: 502,
			"10.0.0.1:6443 /openid/v1/jwks": jwks(t, 1), "[fd00::2]:6443 /openid/v1/jwks": jwks(t, 2),
		}, []summary{{f.origin(), nil, f.origin() + ": reading the key set: answered 502 Bad Gateway; want 200 OK"}, one, six}, nil},
		{"the slice cannot be read: those last known are asked", map[string]any{
			" /openid/v1/jwks": jwks(t, 1), " " + slicePath: 500,
			"10.0.0.1:6443 /openid/v1/jwks": jwks(t, 1), "[fd00::2]:6443 /openid/v1/jwks": jwks(t, 2),
		}, []summary{own, one, six}, []string{"WARN " + cannot + "EndpointSlice default/kubernetes could not be read; asking those last known"}},
		{"one has left the slice", map[string]any{
			" /openid/v1/jwks": jwks(t, 1), " " + slicePath: endpoints(t, "10.0.0.1"), "10.0.0.1:6443 /openid/v1/jwks": jwks(t, 1),
		}, []summary{own, one}, nil},
		{"the right to read the slice is gone", map[string]any{
			" /openid/v1/jwks": jwks(t, 1), " " + slicePath: 403, "10.0.0.1:6443 /openid/v1/jwks": jwks(t, 1),
		}, []summary{own}, []string{"INFO " + cannot + "no right to get EndpointSlice default/kubernetes; asking the configured address alone"}},
		{
			"there is no slice",
			map[string]any{" /openid/v1/jwks": jwks(t, 1)},
			[]summary{own},
			[]string{"INFO " + cannot + "there is no EndpointSlice default/kubernetes; asking the configured address alone"},
		},
	} {
		t.Run(round.name, func(t *testing.T) {
			f.set(round.answers)
			log.lines = nil
			check(t, c.Observe(t.Context()), round.want)
			log.check(t, round.log...)
		})
	}
}

// Two clusters may have equal private addresses, and one proxy in front.
func TestObserveNamesTheClusterOfEachServer(t *testing.T) {
	for path, want := range map[string]string{"": "", "/": "", "/clusters/b/": "/clusters/b"} {
		f := newFake(t)
		f.set(map[string]any{
			" " + want + slicePath: endpoints(t, "10.0.0.1"), "10.0.0.1:6443 /openid/v1/jwks": jwks(t, 1),
		})
		file, err := clientcmd.LoadFromFile(f.kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		file.Clusters["a"].Server += path
		c := newCluster(t, cluster.Config{Kubeconfig: writeKubeconfig(t, file), PerServer: true, Dial: f.dial}, nil)
		check(t, c.Observe(t.Context())[1:], []summary{{f.single("10.0.0.1:6443") + want, ids(t, 1), ""}})
	}
}

// A server that is not of this cluster gets no credentials.
func TestObserveTrustsTheClusterAlone(t *testing.T) {
	f, stranger := newFake(t), newFake(t)
	f.set(map[string]any{" /openid/v1/jwks": jwks(t, 1), " " + slicePath: endpoints(t, "10.0.0.1")})
	stranger.set(map[string]any{"10.0.0.1:6443 /openid/v1/jwks": jwks(t, 2)})
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == "10.0.0.1:6443" {
			return stranger.dial(ctx, network, address)
		}
		return f.dial(ctx, network, address)
	}
	c := newCluster(t, cluster.Config{Kubeconfig: f.kubeconfig, PerServer: true, Dial: dial}, nil)
	check(t, c.Observe(t.Context()), []summary{{f.origin(), ids(t, 1), ""}})
	if stranger.asked != 0 {
		t.Error("the stranger has been asked")
	}
}

// An API server that drops packets must not hold up a round.
func TestObserveDialsServersBriefly(t *testing.T) {
	f := newFake(t)
	f.set(map[string]any{" /openid/v1/jwks": jwks(t, 1), " " + slicePath: endpoints(t, "10.0.0.1")})
	given := make(chan time.Duration, 1)
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != "10.0.0.1:6443" {
			return f.dial(ctx, network, address)
		}
		deadline, _ := ctx.Deadline()
		given <- time.Until(deadline)
		return nil, errors.New("unreachable")
	}
	newCluster(t, cluster.Config{Kubeconfig: f.kubeconfig, PerServer: true, Dial: dial}, nil).Observe(t.Context())
	if got := <-given; got <= 0 || got > 3*time.Second {
		t.Errorf("dialing may take %v, want at most 3 s", got)
	}
}

func TestIssuerRefuses(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer any
		want   string
	}{
		{"HTML", "<html>", "parsing the discovery document: invalid character '<' looking for beginning of value"},
		{"a document without issuer", `{"jwks_uri":"https://a.test"}`, `"issuer" is missing in the discovery document`},
		{"a redirect", 307, "reading the discovery document: answered 307 Temporary Redirect; want 200 OK, redirects are not followed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t)
			f.set(map[string]any{" /.well-known/openid-configuration": test.answer})
			_, err := newCluster(t, cluster.Config{Kubeconfig: f.kubeconfig}, nil).Issuer(t.Context())
			if want := f.origin() + ": " + test.want; err == nil || err.Error() != want {
				t.Errorf("got error %v\nwant      %s", err, want)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	kubeconfig := func(c clientcmdapi.Cluster) string {
		file := clientcmdapi.NewConfig()
		file.Clusters["a"] = &c
		return writeKubeconfig(t, file)
	}
	for _, test := range []struct {
		name   string
		config cluster.Config
		want   string // FILE is the kubeconfig
	}{
		{
			"plain HTTP",
			cluster.Config{Kubeconfig: kubeconfig(clientcmdapi.Cluster{Server: "http://u:CANARY@a.test"})},
			`cluster address "http://a.test": keys are read over https only`,
		},
		{
			"a server that nobody verifies",
			cluster.Config{Kubeconfig: kubeconfig(clientcmdapi.Cluster{Server: "https://a.test", InsecureSkipTLSVerify: true})},
			`kubeconfig "FILE": insecure-skip-tls-verify is set: anybody could answer for the cluster; want certificate-authority`,
		},
		{
			"half a service account",
			cluster.Config{
				Kubeconfig:     kubeconfig(clientcmdapi.Cluster{Server: "https://a.test"}),
				ServiceAccount: types.NamespacedName{Namespace: "a"},
			},
			`service account "a/": want both a namespace and a name, or neither`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.config.Log = slog.New(slog.DiscardHandler)
			_, err := cluster.New(test.config)
			if want := strings.ReplaceAll(test.want, "FILE", test.config.Kubeconfig); err == nil || err.Error() != want {
				t.Errorf("got error %v\nwant      %s", err, want)
			}
		})
	}
}

func TestTextsHoldNeitherTokensNorBodies(t *testing.T) {
	f := newFake(t)
	var log logged
	c := newCluster(t, cluster.Config{Kubeconfig: f.kubeconfig, PerServer: true}, &log)
	for _, status := range []int{301, 401, 403, 500} {
		f.set(map[string]any{
			" /openid/v1/jwks": status, " " + slicePath: status, " " + tokenPath: status, " /.well-known/openid-configuration": status,
		})
		_, issuerErr := c.Issuer(t.Context())
		_, tokenErr := c.Token(t.Context(), cluster.TokenRequest{Namespace: "a", ServiceAccount: "b"})
		texts := []string{c.Observe(t.Context())[0].Err.Error(), issuerErr.Error(), tokenErr.Error()}
		f.set(map[string]any{" /openid/v1/jwks": jwks(t, 1), " " + slicePath: status})
		c.Observe(t.Context())
		if texts = append(texts, log.attrs...); strings.Contains(strings.Join(texts, " "), "CANARY") {
			t.Errorf("a token or an answer is in %q", texts)
		}
	}
	if len(log.attrs) == 0 {
		t.Error("nothing was logged")
	}
}
