package admission

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the webhook's Prometheus metrics. A nil *Metrics records nothing.
type Metrics struct {
	duration *prometheus.HistogramVec
	reviews  *prometheus.CounterVec

	mu         sync.Mutex          // guards what follows
	namespaces map[string]struct{} // of duration
}

// maxNamespaces bounds the series of the histogram, which has 35 for each
// namespace: clusters that make namespaces and remove them never stop.
const maxNamespaces = 1000

// NewMetrics registers the metrics with the registry.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		namespaces: map[string]struct{}{},
		// Name, labels and buckets are azure-workload-identity's, so that
		// dashboards and alerts go on.
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "azwi_mutation_request", Help: "Seconds that reviews took, by the namespace of the pod; empty unless its ServiceAccount was found, and for namespaces after the first 1000.",
			ConstLabels: prometheus.Labels{"service_name": "webhook"},
			Buckets: []float64{
				.001, .002, .003, .004, .005, .006, .007, .008, .009, .01, .02, .03, .04, .05, .06, .07, .08, .09,
				.1, .2, .3, .4, .5, .6, .7, .8, .9, 1, 1.5, 2, 2.5, 3,
			},
		}, []string{"namespace"}),
		reviews: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "azwi_reviews_total", Help: "Reviews, by result (allowed, denied, error) and the reason for it.",
		}, []string{"result", "reason"}),
	}
	registry.MustRegister(m.duration, m.reviews)
	return m
}

func (m *Metrics) record(v verdict, about subject, took time.Duration) {
	if m == nil {
		return
	}
	m.duration.WithLabelValues(m.namespace(about)).Observe(took.Seconds())
	m.reviews.WithLabelValues(v.result, v.reason).Inc()
}

// namespace is the label. A name that any caller could make up would be a series
// for ever.
func (m *Metrics) namespace(about subject) string {
	if !about.found {
		return ""
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.namespaces[about.namespace]; !ok {
		if len(m.namespaces) == maxNamespaces {
			return ""
		}
		m.namespaces[about.namespace] = struct{}{}
	}
	return about.namespace
}
