package publisher

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// Metrics are the publishers' Prometheus metrics, shared by all issuers of a
// process. A nil *Metrics records nothing.
type Metrics struct {
	rounds     *prometheus.HistogramVec
	keys       *prometheus.GaugeVec
	next       *prometheus.GaugeVec
	leads      *prometheus.GaugeVec
	sourceGood *prometheus.GaugeVec
	storeGood  *prometheus.GaugeVec
	writes     *prometheus.CounterVec
	results    *prometheus.CounterVec
	alarms     *prometheus.GaugeVec
	problems   *prometheus.GaugeVec
	outside    *prometheus.GaugeVec

	mu      sync.Mutex                 // guards origins
	origins map[string]map[string]bool // those that have a series, by issuer
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
		origins: make(map[string]map[string]bool),
		rounds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "issuer_sync", Name: "round_duration_seconds", Help: "Time that rounds took, by whether all went well.",
			Buckets: []float64{0.01, 0.05, 0.25, 1, 5, 20, 60},
		}, []string{"issuer", "result"}),
		keys:       gauge("keys", "Keys that are remembered, by phase: all but the revoked are published.", "phase"),
		next:       gauge("next_change_seconds", "Time until a key's phase ends by itself; absent if none does."),
		leads:      gauge("leads", "1 if this process writes, 0 if another replica does."),
		sourceGood: gauge("source_last_success_timestamp_seconds", "When the origin last showed its keys.", "origin"),
		storeGood:  gauge("store_last_success_timestamp_seconds", "When the store last held what it should.", "store"),
		writes:     counter("store_writes_total", "Objects written.", "store"),
		results:    counter("store_rounds_total", "Rounds, by how they went at the store: unchanged, written, throttled, timeout, conflict, error.", "store", "reason"),
		alarms:     gauge("alarms", "Alarms that hold now, by kind.", "kind"),
		problems:   gauge("problems", "Things that are wrong now; status and log name them."),
		outside:    gauge("outside_view_ok", "1 if a relying party finds no fault with the public documents, else 0."),
	}
	registry.MustRegister(m.rounds, m.keys, m.next, m.leads, m.sourceGood, m.storeGood, m.writes, m.results, m.alarms, m.problems, m.outside)
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
	m.recordKeys(round)
	m.recordAlarms(round)
	m.recordSources(round)
	for _, store := range round.Stores {
		m.writes.WithLabelValues(round.Issuer, store.Store).Add(float64(len(store.Written)))
		result := store.Reason
		switch {
		case result != "":
		case len(store.Written) > 0:
			result = "written"
		default:
			result = "unchanged"
		}
		m.results.WithLabelValues(round.Issuer, store.Store, result).Inc()
		if store.Error == "" && len(round.Faults) == 0 {
			m.storeGood.WithLabelValues(round.Issuer, store.Store).SetToCurrentTime()
		}
	}
	if round.Outside != nil {
		m.recordOutside(*round.Outside)
	}
}

// recordSources has no series for origins that are gone: their age would grow
// for ever.
func (m *Metrics) recordSources(round Round) {
	if round.Following {
		return // none was asked
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	before, now := m.origins[round.Issuer], make(map[string]bool)
	for _, source := range round.Sources {
		if source.Error == "" {
			m.sourceGood.WithLabelValues(round.Issuer, source.Origin).SetToCurrentTime()
		}
		now[source.Origin] = source.Error == "" || before[source.Origin]
	}
	for origin := range before {
		if _, still := now[origin]; !still {
			m.sourceGood.DeleteLabelValues(round.Issuer, origin)
		}
	}
	m.origins[round.Issuer] = now
}

func (m *Metrics) recordKeys(round Round) {
	leads := 1.0
	if round.Following {
		leads = 0
	}
	m.leads.WithLabelValues(round.Issuer).Set(leads)
	if round.Keys == nil {
		return // nothing was decided; what holds is not known
	}
	count := make(map[keys.Phase]int)
	for _, key := range round.Keys {
		count[key.Phase]++
	}
	for _, phase := range []keys.Phase{keys.Waiting, keys.Active, keys.Retiring, keys.Revoked} {
		m.keys.WithLabelValues(round.Issuer, string(phase)).Set(float64(count[phase]))
	}
	if round.NextChange.IsZero() {
		m.next.DeleteLabelValues(round.Issuer)
	} else {
		m.next.WithLabelValues(round.Issuer).Set(max(time.Until(round.NextChange).Seconds(), 0))
	}
}

// recordAlarms has a series for each kind, so that alert rules see zeros.
func (m *Metrics) recordAlarms(round Round) {
	count := make(map[keys.AlarmKind]int)
	for _, alarm := range round.Alarms {
		count[alarm.Kind]++
	}
	for _, kind := range []keys.AlarmKind{
		keys.AlarmClash, keys.AlarmDivergence, keys.AlarmShrink, keys.AlarmMax, keys.AlarmRevoked, keys.AlarmSigner,
		AlarmAdopted, AlarmForeignEdit, AlarmIssuerDrift, AlarmOwnCredential,
	} {
		m.alarms.WithLabelValues(round.Issuer, string(kind)).Set(float64(count[kind]))
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
