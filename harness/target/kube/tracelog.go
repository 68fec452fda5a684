package kube

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// TraceSelector selects the pods of docs/tracing/daemonset.yaml.
const TraceSelector = "app=oomlab-trace"

// ErrNoTracers says that no node of a cluster is traced.
var ErrNoTracers = errors.New("no pod with the label " + TraceSelector + " runs")

// Tracers are the pods of a cluster that print the kills on their nodes.
type Tracers struct {
	// Where is the cluster; its Namespace is that of the pods.
	Where Where
	// Line is told of each line that a tracer prints from now on, one at a time. An
	// error of its ends [Tracers.Follow], which returns it.
	Line func(node, line string) error
	// Say is told of what changes: who is followed, and who is not any more. It is called
	// one at a time, too.
	Say func(text string)

	set    kubernetes.Interface
	mu     sync.Mutex
	failed error
	end    context.CancelFunc
	pods   map[types.UID]*tracer
}

// tracer is a pod that is followed, or was.
type tracer struct {
	node, name string
	live       bool
	// newest is the time of the last line that was seen, or that is not wanted; zero: none yet.
	newest time.Time
}

// listEvery is how often it is looked for pods that are new, and for those whose log
// has ended.
const listEvery = 3 * time.Second

// maxLogLine is far more than a kill takes as JSON; what is longer is no kill.
const maxLogLine = 1 << 20

// Follow follows all tracers until ctx ends, or an error of Line.
func (t *Tracers) Follow(ctx context.Context) error {
	config, err := t.Where.Config()
	if err != nil {
		return err
	}
	config = rest.CopyConfig(config)
	config.Timeout = 0 // a log lasts as long as one looks
	set, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	t.set, t.pods = set, map[types.UID]*tracer{}
	ctx, t.end = context.WithCancel(ctx)
	defer t.end()
	var following sync.WaitGroup
	defer following.Wait()
	err = t.look(ctx, &following, true)
	if err == nil && len(t.pods) == 0 {
		err = fmt.Errorf("%s, namespace %s: %w", t.Where, t.Where.Namespace, ErrNoTracers)
	}
	if err != nil {
		t.end()
		if ctx.Err() != nil && t.failed == nil {
			return err
		}
	}
	again := time.NewTicker(listEvery)
	defer again.Stop()
	trouble := ""
	for err == nil {
		select {
		case <-ctx.Done():
			t.mu.Lock()
			defer t.mu.Unlock()
			return t.failed
		case <-again.C:
		}
		now := ""
		if err := t.look(ctx, &following, false); err != nil && ctx.Err() == nil {
			now = err.Error()
		}
		if now != trouble && now != "" {
			t.say("the API does not answer: " + now)
		}
		trouble = now
	}
	return err
}

func (t *Tracers) say(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Say(text)
}

// look follows the pods that nobody follows. At first those that are there have only
// what is new to tell; a pod that comes later is told of from its beginning.
func (t *Tracers) look(ctx context.Context, following *sync.WaitGroup, first bool) error {
	asked, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	list, err := t.set.CoreV1().Pods(t.Where.Namespace).List(asked, metav1.ListOptions{LabelSelector: TraceSelector})
	if err != nil {
		return fmt.Errorf("%s: %w", t.Where, err)
	}
	var nodes []string
	var begin []func()
	t.mu.Lock()
	for _, p := range list.Items {
		known := t.pods[p.UID]
		if p.Status.Phase != corev1.PodRunning || len(p.Spec.Containers) == 0 || known != nil && known.live ||
			t.Where.Node != "" && p.Spec.NodeName != t.Where.Node {
			continue
		}
		if known == nil {
			known = &tracer{node: p.Spec.NodeName, name: p.Name}
			t.pods[p.UID] = known
			nodes = append(nodes, known.node)
		}
		fresh := first && !known.live
		known.live = true
		container := p.Spec.Containers[0].Name
		begin = append(begin, func() {
			if fresh {
				t.skip(asked, known, container)
			}
			following.Go(func() { t.follow(ctx, known, container) })
		})
	}
	t.mu.Unlock()
	var beginning sync.WaitGroup
	for _, f := range begin {
		beginning.Go(f)
	}
	beginning.Wait()
	if len(nodes) > 0 {
		slices.Sort(nodes)
		t.say("watching " + strings.Join(nodes, ", "))
	}
	return nil
}

// follow reads the log of a tracer to its end. The next look takes it up again.
func (t *Tracers) follow(ctx context.Context, p *tracer, container string) {
	err := t.read(ctx, p, container)
	t.mu.Lock()
	defer t.mu.Unlock()
	p.live = false
	if err != nil && ctx.Err() == nil {
		t.Say(fmt.Sprintf("%s: its log ended: %v", p.node, err))
	}
}

// skip notes the last line that a tracer has printed, after which all are wanted. It is asked
// for by itself: where a log that is followed begins, nobody can tell before it has a line.
func (t *Tracers) skip(ctx context.Context, p *tracer, container string) {
	one := int64(1)
	text, err := t.set.CoreV1().Pods(t.Where.Namespace).GetLogs(p.name, &corev1.PodLogOptions{
		Container: container, Timestamps: true, TailLines: &one}).DoRaw(ctx)
	if err != nil {
		return // then it is told of from its beginning
	}
	stamp, _, _ := strings.Cut(string(text), " ")
	if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
		p.newest = at
	}
}

func (t *Tracers) read(ctx context.Context, p *tracer, container string) error {
	o := &corev1.PodLogOptions{Container: container, Follow: true, Timestamps: true}
	if !p.newest.IsZero() {
		since := metav1.NewTime(p.newest.Truncate(time.Second))
		o.SinceTime = &since
	}
	log, err := t.set.CoreV1().Pods(t.Where.Namespace).GetLogs(p.name, o).Stream(ctx)
	if err != nil {
		return err
	}
	defer log.Close()
	lines := bufio.NewReaderSize(log, 64<<10)
	for {
		line, err := boundedLine(lines)
		if line != "" {
			if err := t.take(p, line); err != nil {
				return nil // Follow returns it
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// boundedLine reads a line; of one that is too long, nothing.
func boundedLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line) <= maxLogLine {
			line = append(line, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if len(line) > maxLogLine {
			line = nil
		}
		return strings.TrimSuffix(string(line), "\n"), err
	}
}

// take hands a line on that was not seen before. The API prints the time before each.
func (t *Tracers) take(p *tracer, line string) error {
	stamp, text, _ := strings.Cut(line, " ")
	at, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil {
		text = line
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed != nil {
		return t.failed
	}
	if err == nil {
		if !at.After(p.newest) {
			return nil
		}
		p.newest = at
	}
	if err := t.Line(p.node, text); err != nil {
		t.failed = err
		t.end()
		return err
	}
	return nil
}
