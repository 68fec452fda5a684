// Package kube runs plans of pods on a cluster: one of oomlab's own in a VM, which
// is restored for every run, or one that somebody else has.
//
// It creates pods through the API, and looks at them from both sides: what the
// API shows, and what an agent on the node sees of the kernel and the runtime.
package kube

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/e2e-framework/klient/k8s"
	"sigs.k8s.io/e2e-framework/klient/k8s/resources"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target"
	"github.com/oomlab/oomlab/harness/target/kube/image"
)

// site is a cluster that is ready for one run: its API, the node where the
// agent is, and the line to that agent.
type site struct {
	config *rest.Config
	at     placing
	node   string
	line   line
	close  func(context.Context) error // puts back what was set up for the run
}

// line is a way to talk with the agent of a node.
type line interface {
	Ask(ctx context.Context, req wire.Request, sink func(evidence.Event)) error
	Enough(id int) error
}

// Target is a target.Target for plans with pods.
type Target struct {
	open  func(ctx context.Context) (*site, wire.Hello, error)
	look  func(ctx context.Context) (*kubelet.Node, error) // before open; nil: it makes the node
	files func() map[string]string
	end   func() error

	site  *site // opened by Hello, used by the next Do
	hello wire.Hello
}

var (
	_ target.Target    = (*Target)(nil)
	_ target.Described = (*Target)(nil)
)

// NewVM is a target on a VM cluster.
func NewVM(c *VMCluster) *Target {
	return &Target{
		files: c.Artifacts, end: c.Close,
		open: func(ctx context.Context) (*site, wire.Hello, error) {
			hello, err := c.Hello(ctx)
			if err != nil {
				return nil, hello, err
			}
			r, err := c.Start(ctx)
			if err != nil {
				return nil, hello, err
			}
			s := &site{
				config: r.Config, node: image.NodeName, line: r.Guest,
				at:    placing{namespace: image.Namespace, node: image.NodeName, images: c.images, hostNetwork: true},
				close: func(context.Context) error { return r.Close() },
			}
			if hello.Node != nil {
				hello.Node.Ours = true
			}
			return s, hello, nil
		},
	}
}

// Name implements target.Target.
func (t *Target) Name() scenario.Target { return scenario.Kube }

// Artifacts implements target.Target.
func (t *Target) Artifacts() map[string]string { return t.files() }

// Close implements target.Target.
func (t *Target) Close() error { return errors.Join(t.leave(context.Background()), t.end()) }

// leaveWait bounds the putting back of what a run had set up.
const leaveWait = 90 * time.Second

func (t *Target) leave(ctx context.Context) error {
	if t.site == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveWait)
	defer cancel()
	err := t.site.close(ctx)
	t.site = nil
	return err
}

// Describe implements target.Described.
func (t *Target) Describe(ctx context.Context) (wire.Hello, error) {
	if t.look == nil || t.site != nil {
		return wire.Hello{}, nil
	}
	node, err := t.look(ctx)
	return wire.Hello{Node: node}, err
}

// Hello implements target.Target: the machine is the node's, and Node says what
// its kubelet is set to.
func (t *Target) Hello(ctx context.Context) (wire.Hello, error) {
	if t.site != nil {
		return t.hello, nil
	}
	s, hello, err := t.open(ctx)
	if err != nil {
		return hello, err
	}
	t.site = s
	if hello.Node == nil {
		return hello, errors.Join(errors.New("the agent is not one of a cluster's node"), t.leave(ctx))
	}
	if err := s.facts(ctx, &hello); err != nil {
		return hello, errors.Join(err, t.leave(ctx))
	}
	t.hello = hello
	return hello, nil
}

func (s *site) client() (*resources.Resources, *kubernetes.Clientset, error) {
	config := rest.CopyConfig(s.config)
	config.Timeout = requestTimeout
	// What the API warns of, such as capabilities, is what these pods are for.
	config.WarningHandler = rest.NoWarnings{}
	api, err := resources.New(config)
	if err != nil {
		return nil, nil, err
	}
	set, err := kubernetes.NewForConfig(config)
	return api, set, err
}

func (s *site) facts(ctx context.Context, hello *wire.Hello) error {
	return await(ctx, restoreWait, "the node's facts", func(ctx context.Context) error {
		api, set, err := s.client()
		if err != nil {
			return err
		}
		var node corev1.Node
		if err := api.Get(ctx, s.node, "", &node); err != nil {
			return err
		}
		return nodeFacts(ctx, set, node, hello.Node)
	})
}

// token makes the names of two runs differ.
func token() string {
	var b [4]byte
	rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// label makes a label's value of a run's name.
func label(run, suffix string) string {
	const most = 63 - 1 - 8
	run = strings.Trim(run, "-_./")
	return run[:min(len(run), most)] + "-" + suffix
}

// beginWait is for the agent to look at the node before anything is created.
const beginWait = 60 * time.Second

// Do implements target.Target.
func (t *Target) Do(ctx context.Context, req wire.Request, sink func(evidence.Event)) (err error) {
	if _, err := t.Hello(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.leave(ctx)) }()
	s := t.site
	if s.at.suffix == "" {
		s.at.suffix = token()
	}
	s.at.run = label(req.Plan.Base, s.at.suffix)
	r, err := newRun(s, req, t.hello, sink)
	if err != nil {
		return err
	}
	return r.carryOut(ctx)
}

// kubeRun is one plan being carried out on a cluster.
type kubeRun struct {
	s    *site
	req  wire.Request
	plan plan.Plan
	api  *resources.Resources
	node *resources.Resources // where events about nodes are
	pods map[string]string    // the plan's names by the API's

	mu     sync.Mutex
	sink   func(evidence.Event)
	course *course
	offset time.Duration // from this process's clock to the node's, as it was last
	clock  nodeClock     // for what the API tells
	began  time.Time
	end    string // how the run ended, for the agent's End event
}

func newRun(s *site, req wire.Request, hello wire.Hello, sink func(evidence.Event)) (*kubeRun, error) {
	api, _, err := s.client()
	if err != nil {
		return nil, err
	}
	node, _, err := s.client()
	if err != nil {
		return nil, err
	}
	runtime := strings.HasPrefix(hello.Tier.Hooks["runtime"], "attached")
	r := &kubeRun{
		s: s, req: req, plan: req.Plan,
		api: api.WithNamespace(s.at.namespace), node: node.WithNamespace(metav1.NamespaceDefault), sink: sink,
		pods: map[string]string{}, course: newCourse(req.Plan, runtime), began: time.Now(), end: "settled",
	}
	for _, p := range req.Plan.Pods {
		r.pods[s.at.name(p.Name)] = p.Name
	}
	return r, nil
}

// emit passes an event on. Those of the API get the node's time.
func (r *kubeRun) emit(e evidence.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	here := time.Since(r.began)
	seen := time.Duration(e.AtNS)
	switch {
	case e.AtNS == 0:
		e.AtNS, seen = int64(r.clock.at(here)), here+r.offset
	case e.Source == evidence.Agent, e.Source == evidence.Sampler:
		// An emulated node's clock does not keep up with this one.
		r.offset = seen - here
		r.clock.saw(seen, here)
	}
	if e.Source == evidence.Agent && e.Kind == evidence.End && e.Text == "settled" {
		e.Text = r.end
	}
	r.course.see(e, time.Unix(0, int64(seen)))
	r.sink(e)
}

// now is the node's time, as far as it is known.
func (r *kubeRun) now() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Since(r.began) + r.offset
}

// watchID is the request's that has the agent watch.
const watchID = 1

func (r *kubeRun) carryOut(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	begun := make(chan struct{})
	watched := make(chan error, 1)
	deadline := time.Duration(r.plan.DeadlineMS) * time.Millisecond
	watch := wire.Request{ID: watchID, WallNS: r.req.WallNS, Watch: &wire.Watch{
		DeadlineMS: (deadline + beginWait).Milliseconds(), Namespace: r.s.at.namespace,
		Pods: r.pods, Children: r.children(),
	}}
	if r.req.WallNS > 0 {
		watch.WallNS = time.Now().UnixNano()
	}
	go func() {
		var once sync.Once
		watched <- r.s.line.Ask(ctx, watch, func(e evidence.Event) {
			if e.Source == evidence.Agent && e.Kind == evidence.Begin {
				defer once.Do(func() { close(begun) })
			}
			r.emit(e)
		})
	}()
	timer := time.NewTimer(beginWait)
	defer timer.Stop()
	select {
	case <-begun:
	case err := <-watched:
		return fmt.Errorf("the node's agent: %w", err)
	case <-timer.C:
		return fmt.Errorf("the node's agent did not begin to watch within %s", beginWait)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	failed, gone := r.drive(ctx, watched)
	if gone {
		return failed
	}
	if err := r.s.line.Enough(watchID); err != nil {
		return errors.Join(failed, fmt.Errorf("the node's agent: %w", err))
	}
	last := time.NewTimer(beginWait)
	defer last.Stop()
	select {
	case err := <-watched:
		return errors.Join(failed, err)
	case <-last.C:
		return errors.Join(failed, fmt.Errorf("the node's agent did not say within %s what it saw last", beginWait))
	}
}

// children are the processes that containers fork.
func (r *kubeRun) children() []string {
	var out []string
	for _, p := range r.plan.Processes {
		if kubelet.NameOf(p.Name).Process != "" {
			out = append(out, p.Name)
		}
	}
	return out
}

// drive creates the pods in their order and follows them to the end of the run.
// gone: the agent's line has ended, there is nobody to be told that it is over.
func (r *kubeRun) drive(ctx context.Context, watched <-chan error) (err error, gone bool) {
	f := newFollower(r.api, r.node, r.s.at, r.pods, []string{r.s.node}, r.emit)
	if err := await(ctx, beginWait, "the events before the run", f.begin); err != nil {
		return err, false
	}
	processes := map[string]plan.Process{}
	for _, p := range r.plan.Processes {
		processes[p.Name] = p
	}
	// The node's own time counts: an emulated one has less of it than this machine.
	late := r.now() + time.Duration(r.plan.WithinMS)*time.Millisecond
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	created := 0
	for {
		for created < len(r.plan.Pods) && r.may(r.plan.Pods[created]) {
			pod, err := r.s.at.podObject(r.plan.Pods[created], processes)
			if err != nil {
				return err, false
			}
			if err := create(ctx, r.api, pod, "pod "+pod.Name); err != nil {
				return err, false
			}
			created++
		}
		// What the API does not answer now it may later; for how long it did not
		// is evidence.
		_ = f.ask(ctx)
		if text := r.neverStarts(); text != "" {
			return errors.New(text), false
		}
		if r.over(created) {
			f.leave()
			return nil, false
		}
		if r.now() >= late {
			f.leave()
			r.mu.Lock()
			r.end = "within"
			r.mu.Unlock()
			return nil, false
		}
		select {
		case <-tick.C:
		case err := <-watched:
			if err == nil {
				err = errors.New("the node's agent stopped watching before the run was over")
			}
			return err, true
		case <-ctx.Done():
			return context.Cause(ctx), true
		}
	}
}

// askEvery is how often the API is asked. More often would keep an emulated one
// busy with nothing else.
const askEvery = 1500 * time.Millisecond

func (r *kubeRun) may(p plan.Pod) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.course.mayCreate(p)
}

func (r *kubeRun) neverStarts() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.course.neverStarts()
}

func (r *kubeRun) over(created int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.course.over(created, time.Unix(0, int64(time.Since(r.began)+r.offset)))
}

// createWait is for the API to take an object while the node thrashes, or while a cluster that
// was just restored catches up.
const createWait = 2 * time.Minute

// create creates an object. What the API refuses is refused for good; silence is not.
func create(ctx context.Context, api *resources.Resources, object k8s.Object, what string) error {
	lost := false
	return await(ctx, createWait, "the API to take "+what, func(ctx context.Context) error {
		err := api.Create(ctx, object.DeepCopyObject().(k8s.Object))
		if lost && apierrors.IsAlreadyExists(err) {
			return nil // the answer to an earlier attempt was lost
		}
		lost = lost || err != nil
		return lasting(err)
	})
}

// lasting marks what the API will say again as often as it is asked.
func lasting(err error) error {
	if slices.ContainsFunc([]func(error) bool{
		apierrors.IsForbidden, apierrors.IsInvalid, apierrors.IsBadRequest, apierrors.IsNotFound,
		apierrors.IsUnauthorized, apierrors.IsMethodNotSupported, apierrors.IsAlreadyExists,
	}, func(is func(error) bool) bool { return is(err) }) {
		return forGood{err}
	}
	return err
}
