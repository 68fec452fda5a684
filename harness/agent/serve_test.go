package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/probe"
	"github.com/oomlab/oomlab/stressor/profile"
)

func TestHello(t *testing.T) {
	a := here(t)
	h, err := a.Hello(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := h.Machine
	if got := m.Abilities[kernel.AbilityMemcg]; !got.Yes() {
		t.Skip("no memory cgroups here: " + got.Why)
	}
	if m.Cgroup.Version != a.mount.Version || m.Cgroup.Self != a.mount.Self {
		t.Errorf("cgroup %+v, want version %d and own cgroup %s", m.Cgroup, a.mount.Version, a.mount.Self)
	}
	// The stressor promises at most 2.5 MiB of overhead; less than 100 KiB
	// would mean that something else was measured.
	rss := m.Stressor.RSS().Bytes(m.PageSize)
	if rss < 100*kernel.KiB || rss > 2560*kernel.KiB || m.Stressor.PgTable == 0 || m.Stressor.Threads == 0 {
		t.Errorf("idle stressor: %+v, %s resident", m.Stressor, rss.Human())
	}
	if m.Stressor.Charged < m.Stressor.Anon {
		t.Errorf("the cgroup of an idle stressor is charged %d pages, fewer than its %d anonymous ones",
			m.Stressor.Charged, m.Stressor.Anon)
	}
	if host := m.Abilities[kernel.AbilityHostOOM]; host.Is != "no" {
		t.Errorf("host-oom: %+v, want no where it was not allowed", host)
	}
	t.Logf("%+v %s", m.Stressor, m.Badness)
}

// Without any eBPF /proc/PID/oom_score tells which counters are read; where
// eBPF sees the function itself, both must say the same.
func TestBadnessWithoutEBPF(t *testing.T) {
	a := here(t)
	var direct, indirect probe.Options
	if err := a.measure(t.Context(), &direct); err != nil {
		skipRefused(t, err)
		t.Fatal(err)
	}
	with := *a.observers
	defer func() { *a.observers = with }()
	a.observers.bpf, a.observers.bpfErr = nil, errors.New("switched off by a test")
	if err := a.measure(t.Context(), &indirect); err != nil {
		t.Fatal(err)
	}
	if indirect.Badness == "" {
		a.measureBadness(t.Context(), &indirect)
	}
	if indirect.Badness == "" {
		t.Skip("no stressor of a size that would tell on this machine")
	}
	want := direct.Badness
	if with.tier().Tier < 3 {
		version, err := a.root.Text("/proc/sys/kernel/osrelease")
		if err != nil {
			t.Fatal(err)
		}
		if want, err = a.root.ConcludeBadness(version); err != nil {
			t.Fatal(err)
		}
	}
	if indirect.Badness != want {
		t.Errorf("oom_score says %s, want %s", indirect.Badness, want)
	}
	t.Log(indirect.Badness)
}

// line starts the agent as a program of its own and reads its Hello.
func line(t *testing.T) (cmd *exec.Cmd, to io.WriteCloser, from *bufio.Reader) {
	t.Helper()
	here(t) // or skip
	cmd = exec.Command(program(t, "oomlab-agent"), "serve", program(t, "stressor"))
	var err error
	if to, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints strings.Builder
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Log(complaints.String())
		}
	})
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() }) // so that no read waits forever
	t.Cleanup(func() { timer.Stop() })
	from = bufio.NewReader(out)
	var hello wire.Hello
	receive(t, from, &hello)
	if hello.Protocol != wire.Protocol || hello.Machine.Release == "" {
		t.Fatalf("hello: %+v", hello)
	}
	if memcg := hello.Machine.Abilities[kernel.AbilityMemcg]; !memcg.Yes() {
		t.Skip("no memory cgroups here: " + memcg.Why)
	}
	return cmd, to, from
}

func receive(t *testing.T, from *bufio.Reader, v any) {
	t.Helper()
	text, err := from.ReadBytes('\n')
	if err != nil {
		t.Fatalf("read a line: %v", err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

func send(t *testing.T, to io.Writer, req wire.Request) {
	t.Helper()
	if err := json.NewEncoder(to).Encode(req); err != nil {
		t.Fatal(err)
	}
}

func TestServe(t *testing.T) {
	cmd, to, from := line(t)
	a := here(t)
	send(t, to, wire.Request{ID: 5, Plan: a.limited(t, 64*mib, stressor("s", "/lab", touch(mib), hold))})
	bad := a.limited(t, 64*mib)
	bad.CgroupVersion = 3
	send(t, to, wire.Request{ID: 6, Plan: bad})
	for _, want := range []wire.Message{{ID: 5, Done: true}, {ID: 6, Error: "plan: made for cgroup v3"}} {
		events := 0
		for {
			var m wire.Message
			receive(t, from, &m)
			if m.ID != want.ID {
				t.Fatalf("an answer to %d, want one to %d", m.ID, want.ID)
			}
			if m.Events != nil {
				events += len(m.Events)
				continue
			}
			if m.Done != want.Done || !strings.HasPrefix(m.Error, want.Error) {
				t.Errorf("answer %+v, want %+v", m, want)
			}
			if m.Sum != events {
				t.Errorf("sum %d, want the %d events that came", m.Sum, events)
			}
			break
		}
	}
	to.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("at the end of the line: %v", err)
	}
}

func TestServeRefusesGarbage(t *testing.T) {
	cmd, to, _ := line(t)
	if _, err := io.WriteString(to, "what?\n"); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 70 {
		t.Errorf("%v, want exit status 70", err)
	}
}

// An agent that is killed takes its processes with it, and its undo list puts
// the rest back.
func TestKilledAgent(t *testing.T) {
	cmd, to, from := line(t)
	a := here(t)
	parent := stressor("parent", "/lab", profile.Step{Op: profile.Fork, Name: "child"}, hold)
	child := stressor("child", "/lab", touch(mib), hold)
	child.Parent = "parent"
	parent.Profile.Children = map[string]profile.Profile{"child": child.Profile}
	p := a.limited(t, 64*mib, parent, child, command("sleeper", "/lab", "sleep", "1000"))
	p.Throttled = []string{"sleeper"}
	send(t, to, wire.Request{ID: 1, Plan: p})
	pidfds := map[string]int{}
	for ready := 0; ready < 3; {
		var m wire.Message
		receive(t, from, &m)
		if m.Events == nil {
			t.Fatalf("the run is over: %+v", m)
		}
		for _, e := range m.Events {
			switch e.Kind {
			case evidence.Spawned:
				fd, err := unix.PidfdOpen(e.PID, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer unix.Close(fd)
				pidfds[e.Process] = fd
			case evidence.Ready:
				ready++
			}
		}
	}
	if err := cmd.Process.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.Process.Wait(); err != nil {
		t.Fatal(err)
	}
	for name, fd := range pidfds {
		if err := awaitEnd(fd, time.Now().Add(10*time.Second)); err != nil {
			t.Errorf("%s outlives the agent: %v", name, err)
		}
	}
	list := filepath.Join("/run/oomlab", p.Base+undoSuffix)
	if err := Undo(list, nobody); err != nil {
		t.Fatal(err)
	}
	a.nothingLeft(t, p)
	left, err := Pending(filepath.Dir(list))
	if err != nil || slices.Contains(left, list) { // another run's may be there
		t.Errorf("undo lists: %v, %v", left, err)
	}
}

// When the commander is gone nobody wants the run any more.
// TestWhoIsWaitedFor is told by name and number.
func TestWhoIsWaitedFor(t *testing.T) {
	was := patience
	t.Cleanup(func() { patience = was })
	patience = 0
	var pids []int
	for range 8 {
		cmd := exec.Command("sleep", "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pids = append(pids, cmd.Process.Pid)
	}
	var said []string
	if err := killAll(pids, time.Now().Add(endDeadline), func(s string) { said = append(said, s) }); err != nil {
		t.Error(err)
	}
	if text := strings.Join(said, "\n"); len(said) != 1 ||
		!regexp.MustCompile(`^waiting up to 20s for killed processes to end: \d+ \(sleep\)`).MatchString(text) {
		t.Errorf("said %q", said)
	}
}

func TestLineEndsDuringARun(t *testing.T) {
	cmd, to, from := line(t)
	a := here(t)
	p := a.limited(t, 64*mib, stressor("s", "/lab", touch(mib), hold))
	p.Throttled = []string{"s"}
	send(t, to, wire.Request{ID: 1, Plan: p})
	for {
		var m wire.Message
		receive(t, from, &m)
		if m.Events == nil {
			break
		}
		if slices.ContainsFunc(m.Events, func(e evidence.Event) bool { return e.Kind == evidence.Ready }) {
			to.Close()
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	a.nothingLeft(t, p)
}

// One agent does one plan at a time, and says so.
func TestBusy(t *testing.T) {
	a := here(t)
	p := a.limited(t, 64*mib, stressor("s", "/lab", hold))
	var second error
	err := a.Do(t.Context(), wire.Request{Plan: p}, func(ev evidence.Event) {
		if ev.Kind == evidence.Begin {
			second = a.Do(context.Background(), wire.Request{Plan: p}, func(evidence.Event) {})
		}
	})
	skipRefused(t, err)
	if err != nil {
		t.Error(err)
	}
	if second == nil || !strings.Contains(second.Error(), "another plan is being carried out") {
		t.Errorf("a second plan: %v", second)
	}
}
