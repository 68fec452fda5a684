// Package export shows what oomlab trace sees to Prometheus.
package export

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/oomlab/oomlab/harness/census"
	"github.com/oomlab/oomlab/harness/rank"
	"github.com/oomlab/oomlab/harness/trace"
)

// Bounds of what is exported: a node has few pods, and names of processes and cgroups
// are chosen by whoever runs there.
const (
	maxSeries  = 1000 // of kills
	maxDomains = 100  // those nearest to their limit
)

// other stands for what exceeds maxSeries.
const other = "other"

// Exporter counts kills and serves them.
type Exporter struct {
	registry *prometheus.Registry
	kills    *prometheus.CounterVec
	last     prometheus.Gauge
	listener net.Listener

	mu     sync.Mutex
	series map[[7]string]bool
}

// labels of a kill.
var labels = []string{"by", "constraint", "limit", "domain", "namespace", "pod", "comm"}

// New listens on addr, such as :9464. tier is how far the eBPF programs got, lost counts
// what was lost until now.
func New(addr string, tier func() int, lost func() uint64, c *census.Census) (*Exporter, error) {
	e := &Exporter{registry: prometheus.NewRegistry(), series: map[[7]string]bool{}}
	e.kills = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "oomlab_kills_total",
		Help: "Processes that were killed for memory, by the kernel or by a userspace OOM daemon."}, labels)
	e.last = prometheus.NewGauge(prometheus.GaugeOpts{Name: "oomlab_last_kill_timestamp_seconds",
		Help: "When the last process was killed; 0: none yet."})
	e.registry.MustRegister(e.kills, e.last, domains{c},
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "oomlab_ebpf_tier",
			Help: "How much of the kernel is watched: 3 scores, 2 limits, 1 victims, -1 only the kernel log."},
			func() float64 { return float64(tier()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "oomlab_lost_events_total",
			Help: "Events that did not arrive; kills may be missing."}, func() float64 { return float64(lost()) }))
	var err error
	e.listener, err = net.Listen("tcp", addr)
	return e, err
}

// Addr is where it listens.
func (e *Exporter) Addr() string { return e.listener.Addr().String() }

// Serve answers until ctx ends.
func (e *Exporter) Serve(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(e.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second,
		MaxHeaderBytes: 16 << 10}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // Serve then returns
	defer stop()
	if err := server.Serve(e.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Kill counts a kill.
func (e *Exporter) Kill(k trace.Kill) {
	key := [7]string{k.By, k.Constraint, "", "", k.Victim.Namespace, k.Victim.Pod, Class(k.Victim.Comm)}
	if k.Limit != nil {
		key[2], key[3] = k.Limit.Kind, k.Limit.Cgroup
	}
	for i := range key {
		key[i] = strings.ToValidUTF8(key[i], "\uFFFD")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.series[key] && len(e.series) >= maxSeries {
		key = [7]string{k.By, k.Constraint, other, other, other, other, other}
	}
	e.series[key] = true
	e.kills.WithLabelValues(key[:]...).Inc()
	e.last.SetToCurrentTime()
}

// Class is the name of a process without what makes it one of many: digits become N,
// so that workers of a pool share a series.
func Class(comm string) string {
	var b strings.Builder
	digit := false
	for _, r := range comm {
		if unicode.IsDigit(r) {
			if !digit {
				b.WriteByte('N')
			}
			digit = true
			continue
		}
		digit = false
		b.WriteRune(r)
	}
	return b.String()
}

// domains reads the OOM domains when it is asked.
type domains struct{ census *census.Census }

var (
	leftDesc = prometheus.NewDesc("oomlab_domain_left_bytes",
		"How much more an OOM domain takes: a cgroup's limit minus its usage; available memory and swap of the machine.",
		[]string{"kind", "domain"}, nil)
	limitDesc = prometheus.NewDesc("oomlab_domain_limit_bytes", "The size of an OOM domain.",
		[]string{"kind", "domain"}, nil)
	unreadDesc = prometheus.NewDesc("oomlab_domains_left_out", "OOM domains beyond those that are exported.", nil, nil)
)

func (d domains) Describe(out chan<- *prometheus.Desc) {
	out <- leftDesc
	out <- limitDesc
	out <- unreadDesc
}

func (d domains) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	now, err := d.census.ReadDomains(ctx)
	if err == nil {
		var r rank.Ranking
		if r, err = rank.Rank(now, rank.Options{Top: 1, Domains: maxDomains}); err == nil {
			for _, one := range r.Domains {
				path := strings.ToValidUTF8(one.Path, "\uFFFD")
				if one.Left == nil {
					continue
				}
				gauge := func(d *prometheus.Desc, value float64) {
					out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, one.Kind, path)
				}
				gauge(leftDesc, float64(*one.Left))
				gauge(limitDesc, float64(one.Limit))
			}
			out <- prometheus.MustNewConstMetric(unreadDesc, prometheus.GaugeValue, float64(r.Left))
			return
		}
	}
	out <- prometheus.NewInvalidMetric(leftDesc, err)
}
