package mutate

import (
	"fmt"
	"strings"
)

// Identity is what a ServiceAccount says about the identity of its pods.
type Identity struct {
	Namespace string
	Name      string
	// Annotations of the ServiceAccount. Those of [ServiceAccountAnnotations]
	// are read; [Lint] looks at the others of the same family, too.
	Annotations map[string]string
	// Labels of the ServiceAccount. Only [Lint] looks at them.
	Labels map[string]string
}

// ServiceAccountAnnotations lists the annotations of a ServiceAccount that
// [Mutator.Patch] reads: what a cache has to keep.
func ServiceAccountAnnotations() []string {
	return []string{AnnotationClientID, AnnotationTenantID, AnnotationTokenExpiration}
}

// String names the ServiceAccount.
func (i Identity) String() string {
	if i.Namespace == "" {
		return "ServiceAccount " + i.Name
	}
	return fmt.Sprintf("ServiceAccount %s/%s", i.Namespace, i.Name)
}

// isGUID reports whether value has the text form of a GUID: 8-4-4-4-12 hex
// digits. Entra issues these for applications and tenants.
func isGUID(value string) bool {
	if len(value) != 36 {
		return false
	}
	for i := range len(value) {
		switch i {
		case 8, 13, 18, 23:
			if value[i] != '-' {
				return false
			}
		default:
			if !isHex(value[i]) {
				return false
			}
		}
	}
	return true
}

// isTenant reports whether value names a tenant: a GUID, or one of its domain
// names, which have two labels or more (RFC 1123 section 2.1).
func isTenant(value string) bool {
	if isGUID(value) {
		return true
	}
	labels := strings.Split(value, ".")
	if len(labels) < 2 || len(value) > 253 {
		return false
	}
	for _, label := range labels {
		if !isDomainLabel(label) {
			return false
		}
	}
	return true
}

func isDomainLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for i := range len(label) {
		if c := label[i]; !isDigit(c) && c != '-' && (c|0x20 < 'a' || 'z' < c|0x20) {
			return false
		}
	}
	return true
}
