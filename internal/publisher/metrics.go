package publisher

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// Metrics are the publishers' Prometheus metrics, shared by all issuers of a
// process. A nil *Metrics records nothing.
type Metrics struct {
	rounds      *prometheus.HistogramVec
	keys        *prometheus.GaugeVec
	sourceGood  *prometheus.GaugeVec
	storeGood   *prometheus.GaugeVec
	writes      *prometheus.CounterVec
	storeFaults *prometheus.CounterVec
	problems    *prometheus.GaugeVec
	outside     *prometheus.GaugeVec
}

// NewMetrics registers the metrics with the registry.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "issuer_sync", Name: name, Help: help}, append([]string{"issuer"}, labels...))
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "issuer_sync", Name: name, Help: help}, append([]string{"issuer"}, labels...))
	}
	m := &Metrics{
		rounds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "issuer_sync", Name: "round_duration_seconds", Help: "Time that rounds took, by whether all went well.",
			Buckets: []float64{0.01, 0.05, 0.25, 1, 5, 20, 60},
		}, []string{"issuer", "result"}),
		keys:        gauge("keys", "Keys that are published."),
		sourceGood:  gauge("source_last_success_timestamp_seconds", "When the origin last showed its keys.", "origin"),
		storeGood:   gauge("store_last_success_timestamp_seconds", "When the store last held what it should.", "store"),
		writes:      counter("store_writes_total", "Objects written.", "store"),
		storeFaults: counter("store_errors_total", "Rounds in which the store did not take the documents.", "store"),
		problems:    gauge("problems", "Things that are wrong now; status and log name them."),
		outside:     gauge("outside_view_ok", "1 if a relying party finds no fault with the public documents, else 0."),
	}
	registry.MustRegister(m.rounds, m.keys, m.sourceGood, m.storeGood, m.writes, m.storeFaults, m.problems, m.outside)
	return m
}

func (m *Metrics) record(round Round, took time.Duration) {
	if m == nil {
		return
	}
	result := "ok"
	if round.Err() != nil {
		result = "error"
	}
	m.rounds.WithLabelValues(round.Issuer, result).Observe(took.Seconds())
	m.problems.WithLabelValues(round.Issuer).Set(float64(len(round.problems())))
	if len(round.Keys) > 0 {
		m.keys.WithLabelValues(round.Issuer).Set(float64(len(round.Keys)))
	}
	for _, source := range round.Sources {
		if source.Error == "" {
			m.sourceGood.WithLabelValues(round.Issuer, source.Origin).SetToCurrentTime()
		}
	}
	for _, store := range round.Stores {
		m.writes.WithLabelValues(round.Issuer, store.Store).Add(float64(len(store.Written)))
		if store.Error == "" {
			m.storeGood.WithLabelValues(round.Issuer, store.Store).SetToCurrentTime()
		} else {
			m.storeFaults.WithLabelValues(round.Issuer, store.Store).Inc()
		}
	}
	if round.Outside != nil {
		m.recordOutside(*round.Outside)
	}
}

func (m *Metrics) recordOutside(report oidc.Report) {
	if m == nil {
		return
	}
	ok := 1.0
	if report.Failed() {
		ok = 0
	}
	m.outside.WithLabelValues(report.Issuer).Set(ok)
}
