package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/issuer-sync/issuer-sync/internal/accounts"
)

// registerMetrics registers what tells of trouble that no review shows yet.
func registerMetrics(registry prometheus.Registerer, c certificate, known *accounts.Cache) {
	gauge := func(name, help string, value func() float64) {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("azwi_certificate_not_after_seconds", "When the certificate that is served ends, in Unix time; 0 while there is none.", func() float64 {
		served, err := c.get(nil)
		if err != nil {
			return 0
		}
		return float64(served.Leaf.NotAfter.Unix())
	})
	gauge("azwi_certificate_problem", "1 if the certificate cannot be kept right at present, 0 if it can.", func() float64 {
		if c.problem() != nil {
			return 1
		}
		return 0
	})
	gauge("azwi_service_accounts", "ServiceAccounts with a client ID that are in memory.", func() float64 { return float64(known.Len()) })
	gauge("azwi_service_accounts_stale_seconds", "Seconds since the watch of ServiceAccounts last worked; 0 while it does.", func() float64 {
		return known.Stale().Seconds()
	})
}
