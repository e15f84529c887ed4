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
	events     *prometheus.CounterVec
	problems   *prometheus.GaugeVec
	outside    *prometheus.GaugeVec

	start   time.Time
	mu      sync.Mutex                 // guards what follows
	origins map[string]map[string]bool // those that have a series, by issuer
	stores  map[string]bool            // those that have a series
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
		start:   time.Now(),
		origins: make(map[string]map[string]bool),
		stores:  make(map[string]bool),
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
		events:     counter("alarm_events_total", "Alarms that were over as soon as they were dealt with, by kind.", "kind"),
		problems:   gauge("problems", "Things that are wrong now; status and log name them."),
		outside:    gauge("outside_view_ok", "1 if a relying party finds no fault with the public documents, else 0."),
	}
	registry.MustRegister(m.rounds, m.keys, m.next, m.leads, m.sourceGood, m.storeGood, m.writes, m.results, m.alarms, m.events, m.problems, m.outside)
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
		m.recordStoreGood(round, store)
	}
	if round.Outside != nil {
		m.recordOutside(*round.Outside)
	}
}

// recordStoreGood has a series for a store that never worked, too: since the start.
func (m *Metrics) recordStoreGood(round Round, store StoreResult) {
	m.mu.Lock()
	defer m.mu.Unlock()
	subject := round.Issuer + " " + store.Store
	switch {
	case store.Error == "" && len(round.Faults) == 0:
		m.storeGood.WithLabelValues(round.Issuer, store.Store).SetToCurrentTime()
	case !m.stores[subject]:
		m.storeGood.WithLabelValues(round.Issuer, store.Store).Set(float64(m.start.Unix()))
	}
	m.stores[subject] = true
}

// recordSources has no series for origins that are gone, and none at all in a
// replica that follows and asks nobody: their age would grow for ever.
func (m *Metrics) recordSources(round Round) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before, now := m.origins[round.Issuer], make(map[string]bool)
	for _, source := range round.Sources {
		last := source.LastGood
		if last.IsZero() { // what never answered has an age too
			last = m.start
		}
		m.sourceGood.WithLabelValues(round.Issuer, source.Origin).Set(float64(last.UnixMilli()) / 1000)
		now[source.Origin] = true
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
	for _, kind := range []keys.AlarmKind{AlarmAdopted, AlarmForeignEdit} {
		m.events.WithLabelValues(round.Issuer, string(kind)).Add(0)
	}
	for _, event := range round.events {
		m.events.WithLabelValues(round.Issuer, string(event.Kind)).Inc()
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
