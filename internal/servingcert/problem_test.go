package servingcert_test

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"

	"k8s.io/client-go/rest"

	"github.com/issuer-sync/issuer-sync/internal/servingcert"
)

// What metrics tell: when the certificate ends, and whether the last look failed.
func TestNotAfterAndProblem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newFake(t)
		r := &replica{api: api, done: make(chan struct{}), fault: refused}
		r.run(t, servingcert.Config{Client: newClient(t, &rest.Config{Host: "https://api.test"}, r), DNSNames: []string{serviceName}, Lifetime: lifetime})
		until(t, slack, func() bool { return r.Problem() != nil })
		if !r.NotAfter().IsZero() {
			t.Errorf("ends at %s before there is one", r.NotAfter())
		}
		r.set(nil)
		until(t, 2*slack, func() bool { return r.Problem() == nil && r.NotAfter().Equal(r.leaf().NotAfter) })
		r.set(refused)
		until(t, lookTime+slack, func() bool { return r.Problem() != nil })
		if r.Ready() != nil || r.NotAfter().IsZero() {
			t.Error("the certificate is given up for a problem")
		}
	})
}

func refused(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }
