package servingcert

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/issuer-sync/issuer-sync/internal/selfcert"
)

// The keys of the Secret's data. What is served has the names that everybody
// expects (Kubernetes type kubernetes.io/tls, cert-manager).
const (
	certKey       = corev1.TLSCertKey
	privateKeyKey = corev1.TLSPrivateKeyKey
	caKey         = "ca.crt"
	nextPrefix    = "next-"
	previousKey   = "previous-ca.crt"
)

// markAnnotation says that this package wrote the Secret and may write it again.
const markAnnotation = "issuer-sync.github.io/serving-certificates"

// content is what the Secret says. It is a value: nothing changes one.
type content struct {
	current  *generation       // served by all replicas; nil: none
	next     *generation       // to be served when API servers trust it; nil: none
	previous *x509.Certificate // the CA of what some replica may still serve; nil: none
}

// readContent reads a Secret. What of it is of no use is left out, and damage
// says why, but never quotes it. A Secret that holds something and was not
// written by this package is an error: it may be the only copy of a key that
// others need.
func readContent(secret *corev1.Secret) (c content, damage, err error) {
	filled := func(value []byte) bool { return len(value) > 0 }
	if !slices.ContainsFunc(valuesOf(secret.Data), filled) {
		return content{}, nil, nil
	}
	if _, marked := secret.Annotations[markAnnotation]; !marked {
		return content{}, nil, fmt.Errorf("reading Secret %s/%s: it holds data that this program did not write; name another, empty Secret, "+
			"serve these certificates from files, or give the Secret up with `kubectl --namespace %[1]s annotate secret %[2]s %[3]s=`",
			secret.Namespace, secret.Name, markAnnotation)
	}
	var faults [3]error
	c.current, faults[0] = readGeneration(secret.Data, "")
	c.next, faults[1] = readGeneration(secret.Data, nextPrefix)
	if raw := secret.Data[previousKey]; filled(raw) {
		if c.previous, faults[2] = selfcert.ParseCertificate(raw); faults[2] != nil {
			faults[2] = fmt.Errorf("%s: %w", previousKey, faults[2])
		}
	}
	if faults[0] == nil && c.current == nil {
		faults[0] = fmt.Errorf("%s: it is empty", certKey)
	}
	return c, errors.Join(faults[:]...), nil
}

// readGeneration returns nil for none.
func readGeneration(data map[string][]byte, prefix string) (*generation, error) {
	found := texts{cert: data[prefix+certKey], key: data[prefix+privateKeyKey], ca: data[prefix+caKey]}
	if len(found.cert)+len(found.key)+len(found.ca) == 0 {
		return nil, nil
	}
	g, err := parseGeneration(found)
	if err != nil {
		return nil, fmt.Errorf("%[1]s%[2]s, %[1]s%[3]s, %[1]s%[4]s: %[5]w", prefix, certKey, privateKeyKey, caKey, err)
	}
	return g, nil
}

// data is the content for a patch of the Secret: keys that it should not have
// are nil.
func (c content) data() map[string][]byte {
	data := map[string][]byte{previousKey: nil}
	if c.previous != nil {
		data[previousKey] = selfcert.EncodeCertificate(c.previous.Raw)
	}
	for prefix, g := range map[string]*generation{"": c.current, nextPrefix: c.next} {
		var texts texts
		if g != nil {
			texts = g.texts
		}
		data[prefix+certKey], data[prefix+privateKeyKey], data[prefix+caKey] = texts.cert, texts.key, texts.ca
	}
	return data
}

// bundle is the caBundle for the content, oldest first, so that it stays the same
// when the next one is taken. It is made of parsed certificates: nothing else
// that somebody put into the Secret becomes public.
func (c content) bundle() []byte {
	var bundle bytes.Buffer
	if c.previous != nil {
		bundle.Write(selfcert.EncodeCertificate(c.previous.Raw))
	}
	for _, g := range []*generation{c.current, c.next} {
		if g != nil {
			bundle.Write(selfcert.EncodeCertificate(g.ca.Raw))
		}
	}
	return bundle.Bytes()
}

func valuesOf(data map[string][]byte) [][]byte {
	values := make([][]byte, 0, len(data))
	for _, value := range data {
		values = append(values, value)
	}
	return values
}
