package admission

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the webhook's Prometheus metrics. A nil *Metrics records nothing.
type Metrics struct {
	duration *prometheus.HistogramVec
	reviews  *prometheus.CounterVec
}

// NewMetrics registers the metrics with the registry.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		// Name, labels and buckets are azure-workload-identity's, so that
		// dashboards and alerts go on.
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "azwi_mutation_request", Help: "Seconds that reviews took, by the namespace of the pod; empty unless its ServiceAccount was found.",
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
	// A name that any caller could make up would be a series for ever.
	namespace := ""
	if about.found {
		namespace = about.namespace
	}
	m.duration.WithLabelValues(namespace).Observe(took.Seconds())
	m.reviews.WithLabelValues(v.result, v.reason).Inc()
}
