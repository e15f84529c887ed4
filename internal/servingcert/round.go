package servingcert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
)

// maxSteps is more than a round has (making, bundle, look) with some races lost.
const maxSteps = 10

// round looks at both objects and changes them until there is nothing to change.
func (c *Certificate) round(ctx context.Context) error {
	for range maxSteps {
		done, err := c.step(ctx)
		if done || err != nil && !errors.Is(err, errMoved) {
			return err
		}
	}
	return fmt.Errorf("keeping Secret %s and MutatingWebhookConfiguration %s: somebody else changes them again and again",
		c.config.Secret, c.config.WebhookConfiguration)
}

// step makes at most one change, and serves what the Secret says once there is
// none to make. The certificate is served only after the caBundle trusts it.
//
// The webhook configuration is read before the Secret and written with the
// version read then. So a replica that was slow, and knows an older Secret than
// the one that the caBundle was made from, cannot take a CA out of it again.
func (c *Certificate) step(ctx context.Context) (done bool, err error) {
	configuration, err := c.readWebhooks(ctx)
	if err != nil {
		return false, err
	}
	secret, err := c.readSecret(ctx)
	if err != nil {
		return false, err
	}
	stored, damage, err := readContent(secret)
	if err != nil {
		return false, err
	}
	bundle := stored.bundle()
	trusted := len(withoutBundle(configuration, bundle)) == 0
	s := situation{
		now: time.Now(), names: c.config.DNSNames, lifetime: c.config.Lifetime,
		stored: stored, damage: damage, held: c.served.Load(), settled: c.settled(stored.next, trusted),
	}
	if change := s.decide(); change != nothing {
		return false, c.change(ctx, s, change, secret.ResourceVersion)
	}
	if !trusted {
		return false, c.trust(ctx, configuration, bundle)
	}
	c.serve(stored.current)
	return true, nil
}

// settled reports whether the caBundle has had the CA of the next certificate
// for long enough, as far as this process has seen. Only its own monotonic clock
// counts.
func (c *Certificate) settled(next *generation, inBundle bool) bool {
	if next == nil || !inBundle {
		c.trusted = ""
		return false
	}
	if ca := string(next.ca.Raw); ca != c.trusted {
		c.trusted, c.since = ca, time.Now()
	}
	return time.Since(c.since) >= c.settle()
}

// change writes the Secret, if it still has this version.
func (c *Certificate) change(ctx context.Context, s situation, change change, version string) error {
	var fresh *generation
	if change == begin || change == stage || change == restore {
		var err error
		if fresh, err = newGeneration(s.now, s.namesOfNew(change), s.lifetime); err != nil {
			return err
		}
	}
	next := s.after(change, fresh)
	if err := c.writeSecret(ctx, version, next.data()); err != nil {
		return err
	}
	name := c.config.Secret.String()
	if s.damage != nil {
		c.config.Log.Warn("found the Secret damaged", "secret", name, "err", s.damage)
	}
	c.config.Log.Info("changed the Secret", "secret", name, "change", string(change), "not_after", next.current.expiry())
	return nil
}

// trust writes the caBundle of the webhooks that have another one.
func (c *Certificate) trust(ctx context.Context, configuration *admissionregistrationv1.MutatingWebhookConfiguration, bundle []byte) error {
	if err := c.writeBundle(ctx, configuration, bundle); err != nil {
		return err
	}
	c.config.Log.Info("wrote the CA bundle", "webhook_configuration", c.config.WebhookConfiguration, "webhooks", withoutBundle(configuration, bundle),
		"certificates", bytes.Count(bundle, []byte("-----BEGIN")))
	return nil
}

// serve has new connections get this certificate.
func (c *Certificate) serve(g *generation) {
	if held := c.served.Load(); held != nil && held.ca.Equal(g.ca) {
		return
	}
	c.served.Store(g)
	c.config.Log.Info("serving a new certificate", "not_after", g.expiry(), "dns_names", g.leaf.DNSNames)
}
