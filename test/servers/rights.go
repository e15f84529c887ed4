package servers

import (
	"encoding/json"
	"slices"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Rights returns the rights, in a namespace, of a ServiceAccount that not every
// ServiceAccount has: rules as JSON, sorted.
func (k *Kube) Rights(t testing.TB, accountNamespace, account, where string) []string {
	t.Helper()
	everybody := k.rules(t, accountNamespace, "nobody", where)
	return slices.DeleteFunc(k.rules(t, accountNamespace, account, where), func(rule string) bool { return slices.Contains(everybody, rule) })
}

func (k *Kube) rules(t testing.TB, accountNamespace, account, where string) []string {
	t.Helper()
	client, err := kubernetes.NewForConfig(k.ServiceAccount(t, accountNamespace, account))
	if err != nil {
		t.Fatal(err)
	}
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: where}}
	review, err = client.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(), review, metav1.CreateOptions{})
	if err != nil || review.Status.Incomplete {
		t.Fatalf("asking for the rights of %s: %v %s", account, err, review.Status.EvaluationError)
	}
	var rules []string
	add := func(rule any) {
		text, err := json.Marshal(rule)
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, string(text))
	}
	for _, rule := range review.Status.ResourceRules {
		add(rule)
	}
	for _, rule := range review.Status.NonResourceRules {
		add(rule)
	}
	slices.Sort(rules)
	return rules
}
