package kube

import (
	"fmt"
	"os"
	"strings"
)

// namespaceFile holds the namespace of the pod that this process runs in
// (Kubernetes, plugin/pkg/admission/serviceaccount).
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// PodNamespace returns the namespace of the pod that this process runs in: what
// the variable POD_NAMESPACE says, or else the pod's service account. lookup is
// the environment, as os.LookupEnv gives it.
func PodNamespace(lookup func(string) (string, bool)) (string, error) {
	if namespace, _ := lookup("POD_NAMESPACE"); namespace != "" {
		return namespace, nil
	}
	content, err := os.ReadFile(namespaceFile)
	if err != nil {
		return "", fmt.Errorf("reading the pod's namespace: %w", err)
	}
	return strings.TrimSpace(string(content)), nil
}
