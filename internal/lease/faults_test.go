package lease_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestLeadsEndsAtTheRenewDeadline(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault func(req *http.Request, c *candidate) (*http.Response, error)
		told  bool // Run is free to tell it
	}{
		{"while the API server hangs", func(req *http.Request, _ *candidate) (*http.Response, error) { return hang(req) }, true},
		{"while Run is stuck", func(*http.Request, *candidate) (*http.Response, error) {
			time.Sleep(time.Minute)
			return nil, errors.New("connection lost")
		}, false},
		{"while connections are refused, and then hang", func(req *http.Request, c *candidate) (*http.Response, error) {
			if c.Leads() {
				return nil, errors.New("refused")
			}
			return hang(req)
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := &fake{t: t}
				a, b := leaderAndFollower(t, api)
				renewed := api.spec().RenewTime.Time
				a.set(func(req *http.Request) (*http.Response, error) { return test.fault(req, a) })
				for time.Since(renewed) < renewDeadline-2*slack {
					if !a.Leads() {
						t.Fatalf("leads no more %v after the last renewal", time.Since(renewed))
					}
					time.Sleep(slack / 5)
				}
				time.Sleep(3 * slack)
				if a.Leads() {
					t.Errorf("leads %v after the last renewal", time.Since(renewed))
				}
				told := a.told()
				if last := told[len(told)-1]; test.told && (last.leads || last.at.Sub(renewed) > renewDeadline+slack) {
					t.Errorf("told %v; the last renewal was at %v", told, renewed)
				}
				if b.Leads() {
					t.Error("the other one leads already")
				}
				until(t, leaseDuration, b.Leads)
				a.set(nil)
				time.Sleep(2 * time.Minute) // until Run is free again
				if a.Leads() || !b.Leads() || a.Leader() != "b" {
					t.Errorf("leads: %v and %v; leader: %q", a.Leads(), b.Leads(), a.Leader())
				}
			})
		})
	}
}

func TestNobodyLeadsWithoutTheAPIServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &fake{t: t}
		a, b := leaderAndFollower(t, api)
		a.set(hang)
		b.set(func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") })
		time.Sleep(renewDeadline)
		for range 3600 {
			if a.Leads() || b.Leads() {
				t.Fatalf("leads: %v and %v", a.Leads(), b.Leads())
			}
			time.Sleep(time.Second)
		}
		a.set(nil)
		b.set(nil)
		until(t, renewDeadline/2+retryPeriod, func() bool { return a.Leads() || b.Leads() })
	})
}

// A renewal of which only the answer was lost is found when it is tried again.
func TestLostAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &fake{t: t}
		a, b := leaderAndFollower(t, api)
		writes := 0
		a.set(func(req *http.Request) (*http.Response, error) {
			res, err := api.RoundTrip(req)
			if req.Method == http.MethodPut && res.StatusCode == http.StatusOK {
				if writes++; writes%3 != 0 {
					return nil, errors.New("connection reset")
				}
			}
			return res, err
		})
		time.Sleep(10 * time.Minute)
		if told := a.told(); !a.Leads() || len(told) != 1 || b.Leads() || *api.spec().LeaseTransitions != 0 {
			t.Errorf("leads: %v and %v; told %v; the Lease: %v", a.Leads(), b.Leads(), told, api.spec())
		}
	})
}

func TestForbidden(t *testing.T) {
	const no, needs = ` Lease team/writer: leases.coordination.k8s.io "writer" is forbidden: no: `, `allow it with a Role in namespace "team" that has the rule `
	const rule = `{apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: ["writer"], verbs: [get, update]}`
	for method, want := range map[string]string{
		http.MethodGet: "reading" + no + needs + rule,
		http.MethodPost: "creating" + no + "create the Lease beforehand, or " + needs +
			"{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create]}",
		http.MethodPut: "updating" + no + needs + rule,
	} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := &fake{t: t, denied: method}
				if method != http.MethodPost {
					api.edit(func(*coordinationv1.Lease) *coordinationv1.Lease { return new(coordinationv1.Lease) })
				}
				a := stand(t, api, "a")
				time.Sleep(time.Minute)
				if a.Leads() || len(a.told()) != 0 {
					t.Error("leads without the right to")
				}
				a.checkLog(t, "WARN problem subject=leader election err="+want)
				api.deny("")
				until(t, retryPeriod+slack, a.Leads)
				time.Sleep(time.Minute)
				a.checkLog(t, "WARN problem subject=leader election err="+want, "INFO problem is over subject=leader election",
					"INFO leadership changed lease=team/writer leader=a leads=true")
			})
		})
	}
}

func TestNamespaceIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := prepare(t, &fake{t: t}, "a")
		a.set(func(req *http.Request) (*http.Response, error) {
			if req.Method == http.MethodPost {
				return refusal(apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "team")), nil
			}
			return a.api.RoundTrip(req)
		})
		a.run(t)
		time.Sleep(time.Minute)
		a.checkLog(t, `WARN problem subject=leader election err=creating Lease team/writer: namespaces "team" not found: the namespace must exist`)
	})
}

func TestGarbage(t *testing.T) {
	const noVersion = "the answer is not from a Kubernetes API server: it has no resourceVersion"
	const noStatus = ", without a Status of Kubernetes"
	for _, test := range []struct {
		name string
		code int
		body any // text/html if it is a string
		want string
	}{
		{"a login page", 200, "<html>CANARY", "serializer for text/html doesn't exist"},
		{"no object", 200, json.RawMessage(`null`), noVersion},
		{"an empty object", 200, struct{}{}, noVersion},
		{"good news", 200, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Success"}, noVersion},
		{
			"a field of another type", 200, json.RawMessage(`{"metadata":{"resourceVersion":"1"},"spec":{"holderIdentity":["CANARY"]}}`),
			"json: cannot unmarshal array into Go struct field LeaseSpec.spec.holderIdentity of type string",
		},
		{"a Lease without version", 200, coordinationv1.Lease{}, noVersion},
		{"somebody else's 404", 404, "CANARY", "answered 404 Not Found" + noStatus},
		{"somebody else's 500", 500, "CANARY", "answered 500 Internal Server Error" + noStatus},
		{"somebody else's 403", 403, "CANARY", "answered 403 Forbidden" + noStatus},
		{"a redirect", 302, "CANARY", "answered 302 Found" + noStatus},
		{"too many requests, as API servers say it", 429, "CANARY", "answered 429 Too Many Requests" + noStatus},
		{"a rebuff", 401, refusalBody(apierrors.NewUnauthorized("who are you")), "who are you"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var requests atomic.Int32
				garbage := func(*http.Request) (*http.Response, error) {
					requests.Add(1)
					return answer(test.code, test.body), nil
				}
				api := &fake{t: t}
				a := prepare(t, api, "a")
				a.set(garbage)
				a.run(t)
				time.Sleep(time.Minute)
				if a.Leads() || a.Leader() != "" || len(a.told()) != 0 {
					t.Errorf("leads: %v, leader: %q, told %v", a.Leads(), a.Leader(), a.told())
				}
				if got := requests.Load(); got > 41 {
					t.Errorf("%d requests in a minute, want one every 1.5 to 2 s", got)
				}
				problem := "WARN problem subject=leader election err=%s Lease team/writer: " + test.want
				a.checkLog(t, fmt.Sprintf(problem, "reading"))

				b := stand(t, api, "b")
				until(t, slack, b.Leads)
				b.set(garbage)
				time.Sleep(renewDeadline + slack)
				if b.Leads() || len(b.told()) != 2 {
					t.Errorf("leads: %v, told %v", b.Leads(), b.told())
				}
				b.checkLog(t, "INFO leadership changed lease=team/writer leader=b leads=true", fmt.Sprintf(problem, "updating"),
					"INFO leadership changed lease=team/writer leader=b leads=false")
			})
		})
	}
}
