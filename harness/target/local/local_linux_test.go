package local

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/agent"
	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target"
	"github.com/oomlab/oomlab/stressor/profile"
)

func TestMissing(t *testing.T) {
	err := missing(fmt.Errorf("plan: %w", &agent.Refusal{What: "a disk to swap to", Hint: "use --target vm"}))
	var lack *target.Missing
	if !errors.As(err, &lack) || lack.What != "a disk to swap to" || lack.Hint != "use --target vm" {
		t.Errorf("%#v", err)
	}
	if !errors.Is(err, target.ErrUnsupported) {
		t.Error("what the machine lacks is not ErrUnsupported")
	}
	other := errors.New("no such luck")
	if got := missing(other); got != other {
		t.Errorf("%v became %v", other, got)
	}
	if got := missing(nil); got != nil {
		t.Errorf("nil became %v", got)
	}
}

func TestWithoutRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("this is root")
	}
	_, err := Open(t.Context(), Options{Stressor: "/bin/true", ScratchDir: t.TempDir()})
	if !errors.Is(err, target.ErrUnsupported) || !strings.Contains(err.Error(), "needs root") {
		t.Errorf("%v, want that it needs root", err)
	}
}

func TestLocal(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("making memory cgroups needs root")
	}
	stressor := filepath.Join(t.TempDir(), "oomlab-stressor")
	build := exec.Command("go", "build", "-o", stressor, "../../../stressor")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build.Args, err, out)
	}
	l, err := Open(t.Context(), Options{Stressor: stressor, ScratchDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	if l.Name() != scenario.Local || len(l.Artifacts()) != 0 {
		t.Errorf("name %q, artifacts %v", l.Name(), l.Artifacts())
	}
	h, err := l.Hello(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if memcg := h.Machine.Abilities[kernel.AbilityMemcg]; !memcg.Yes() {
		t.Skip("no memory cgroups here: " + memcg.Why)
	}
	p := plan.Plan{
		Base: fmt.Sprintf("oomlab-local-%d", os.Getpid()), CgroupVersion: h.Machine.Cgroup.Version,
		WithinMS: 10_000, DeadlineMS: 20_000, Cgroups: []plan.Cgroup{{Path: "/lab"}},
		Processes: []plan.Process{{
			Name: "s", Of: "s", Cgroup: "/lab", Launch: profile.Launch{Comm: "s", DeadlineMS: 20_000},
			Profile: profile.Profile{Name: "s", DeadlineMS: 20_000, Steps: []profile.Step{{Op: profile.Exit, Code: 7}}},
		}},
	}
	codes := []int{}
	err = l.Do(t.Context(), wire.Request{Plan: p}, func(e evidence.Event) {
		if e.Kind == evidence.Exited && e.Exit != nil {
			codes = append(codes, e.Exit.Code)
		}
	})
	if err != nil || len(codes) != 1 || codes[0] != 7 {
		t.Errorf("exit codes %v, %v; want 7", codes, err)
	}
	p.Swap = &plan.Swap{Kind: "disk", Size: kernel.MiB}
	err = l.Do(t.Context(), wire.Request{Plan: p}, func(evidence.Event) {})
	if !errors.Is(err, target.ErrUnsupported) {
		t.Errorf("a disk to swap to on this machine: %v, want that it is not supported", err)
	}
}
