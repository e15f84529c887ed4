package webhook_test

import (
	"bytes"
	"testing"
	"time"
)

// TestRotation: pods are created on and on while both replicas take their next
// certificate and the CA of the old one goes. None fails.
func TestRotation(t *testing.T) {
	t.Parallel()
	// The shortest: the rotation begins after 40 s, 5 s later the next
	// certificate is served, and after 60 s the old one has expired.
	const lifetime = time.Minute
	i := newInstallation(t, "deploy/webhook")
	i.install(t, "", "")
	i.makeNamespace(t, "load", nil, withClientID())
	replicas := []*replica{i.start(t, "--cert-lifetime="+lifetime.String()), i.start(t, "--cert-lifetime="+lifetime.String())}
	for _, r := range replicas {
		r.awaitReady(t)
	}
	i.awaitReachable(t)
	first := replicas[0].served()
	load := i.load(t, steady)
	for _, r := range replicas {
		eventually(t, "the next certificate to be served", 2*lifetime, func() bool {
			now := r.served()
			return now != nil && !now.Equal(first)
		})
	}
	if time.Now().After(first.NotAfter) {
		t.Error("the next certificate came after the first had expired")
	}
	eventually(t, "the first CA to go", 2*lifetime, func() bool {
		return time.Now().After(first.NotAfter) && bytes.Count(i.bundle(t), []byte("BEGIN CERTIFICATE")) == 1
	})
	load.goOn(t)
	load.stop(t)
}
