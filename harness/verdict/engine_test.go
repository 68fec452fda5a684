package verdict_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/oomlab/oomlab/harness/engine"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/verdict"
)

// TestEngineContradicted: what an engine says and the kernel, the wait status or the flags
// contradict is found, each by its name.
func TestEngineContradicted(t *testing.T) {
	shows := func(name, value string) func(*evidence.ContainerState) {
		return func(s *evidence.ContainerState) { s.Shows[name] = value }
	}
	for _, tt := range []struct {
		name   string
		change func(*evidence.ContainerState)
		want   verdict.Kind
	}{
		{"it misses the kill", shows(engine.OOMKilled, "false"), verdict.Kind(engine.KilledButFalse)},
		{"another exit code", shows(engine.ExitCode, "1"), verdict.EngineDiffers},
		{"it runs", shows(engine.Status, engine.Running), verdict.EngineDiffers},
		{"another limit", shows(engine.Memory, "1"), verdict.EngineDiffers},
		{"another runtime", shows(engine.Runtime, "runc"), verdict.EngineDiffers},
		{"another container", func(s *evidence.ContainerState) { s.ID = "b" + s.ID[1:] }, verdict.EngineDiffers},
		{"a property is not told", func(s *evidence.ContainerState) { delete(s.Shows, engine.Pid) },
			verdict.EngineMissing},
		{"an end is not told", func(s *evidence.ContainerState) { s.Events = s.Events[:1] }, verdict.EngineDiffers},
		{"a start more", func(s *evidence.ContainerState) {
			s.Events = append(s.Events, engine.Event{Name: engine.Started})
		}, verdict.EngineDiffers},
		{"an event of docker's", func(s *evidence.ContainerState) {
			s.Events = append(s.Events, engine.Event{Name: engine.OOM})
		}, verdict.EngineDiffers},
		{"another exit code in the event", func(s *evidence.ContainerState) { *s.Events[1].Code = 1 },
			verdict.EngineDiffers},
	} {
		in := recordings(t)["6.12/container-first-process-killed"]
		if got := verdict.Judge(in); got.Verdict != verdict.Pass {
			t.Fatalf("the recording is %s", got.Verdict)
		}
		for i, e := range in.Events {
			if e.Kind == evidence.ContainerShown {
				tt.change(in.Events[i].Engine)
			}
		}
		r := verdict.Judge(in)
		if r.Verdict != verdict.Broken || !slices.ContainsFunc(r.Disagreements, func(d verdict.Disagreement) bool {
			return d.Name == tt.want
		}) {
			t.Errorf("%s: %s with %v, want %s", tt.name, r.Verdict, r.Disagreements, tt.want)
		}
	}
}

// TestOverseers: a table of what runtimes say has each container by what the kernel did.
func TestOverseers(t *testing.T) {
	all := recordings(t)
	got := verdict.Overseers(all["6.12/container-first-process-killed"])
	want := verdict.Overseen{Name: "app", By: "podman + crun", Fate: verdict.FirstKilled, Says: "OOMKilled=true, 137",
		Events: "start died"}
	if len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	got = verdict.Overseers(all["6.12/container-restart-on-failure"])
	if len(got) != 1 || got[0].Fate != verdict.EachLife || got[0].Says != "OOMKilled=true, 137, RestartCount=2" {
		t.Errorf("one that was started again is %+v", got)
	}
	got = verdict.Overseers(all["kube-1.36/stress-worker-takes-its-container-along"])
	if len(got) != 2 || got[0].By != verdict.Kubelet || got[0].Fate != verdict.AllKilled ||
		got[0].Says != "OOMKilled, 137, restartCount 1" || got[1].By != verdict.Containerd {
		t.Errorf("one of a pod's is %+v", got)
	}
	for name, want := range map[string]map[string]verdict.Fate{
		"6.12/unit-rare-end": {"nobody": verdict.NoVictim, "stopped": verdict.Stopping,
			"twice": verdict.Twice},
		"6.12/container-rare-end-podman-crun": {"nobody": verdict.NoVictim, "together": verdict.AllKilled,
			"stopped": verdict.Stopping, "twice": verdict.Twice},
	} {
		fates := map[string]verdict.Fate{}
		for _, o := range verdict.Overseers(all[name]) {
			fates[o.Name] = o.Fate
		}
		if !maps.Equal(fates, want) {
			t.Errorf("%s has %v, want %v", name, fates, want)
		}
	}
	got = verdict.Overseers(all["6.12/unit-child-killed-stops-the-service"])
	if len(got) != 1 || got[0].By != "systemd" || got[0].Fate != verdict.ChildAndOn {
		t.Errorf("a unit is %+v", got)
	}
}
