package verdict

import (
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
)

// TimeDiffers: what a witness tells runs backwards, or lies outside of the run.
const TimeDiffers Kind = "time-differs"

// lateNS is how far apart two things may be told that happen at once: the clocks of
// processors differ, and an emulated one may rest between reading its clock and
// writing the time down.
const lateNS = 1_000_000_000

// momentNS is the same for two times that one clock tells: reading it takes a moment.
const momentNS = 10_000_000

// drift is how far the kernel log's clock may be from CLOCK_MONOTONIC, which is slewed
// while the machine is up: a second, and a thousandth of the time since it booted.
func drift(atNS int64) int64 { return lateNS + atNS/1000 }

// settled is the text of the end of a run that waited for all there was to happen.
const settled = "settled"

// within: the observers tell what happens between the first reading and the end.
func (a *account) within(e evidence.Event, slack int64, found *findings) {
	first := a.in.Events[0].AtNS
	if e.AtNS < first-slack || e.AtNS > a.agent().end+slack {
		found.add(TimeDiffers, "%s of %s at %d ns is outside of the run, which lasted from %d to %d ns",
			e.Kind, e.Source, e.AtNS, first, a.agent().end)
	}
}

// NobodysEvent: an event is not one that its source tells.
const NobodysEvent Kind = "nobodys-event"

// tellers are the sources of each kind of event. A witness with events of its own adds
// them.
var tellers = map[evidence.Kind][]evidence.Source{
	evidence.Begin: {evidence.Agent}, evidence.Spawned: {evidence.Agent}, evidence.Did: {evidence.Agent},
	evidence.Stopping: {evidence.Agent},
	evidence.End:      {evidence.Agent}, evidence.Failure: {evidence.Agent, evidence.Stressor},
	evidence.Failed:          {evidence.Stressor},
	evidence.Alive:           {evidence.Agent},
	evidence.ProcRead:        {evidence.Agent},
	evidence.Ranked:          {evidence.Agent},
	evidence.Descendants:     {evidence.Agent},
	evidence.Forked:          {evidence.Agent},
	evidence.Named:           {evidence.Agent},
	evidence.ContainerCgroup: {evidence.Agent},

	evidence.Ready: {evidence.Stressor, evidence.Agent}, evidence.Step: {evidence.Stressor, evidence.Agent},
	evidence.Exited: {evidence.Wait}, evidence.Reading: {evidence.Counters}, evidence.Sample: {evidence.Sampler},

	evidence.Record: {evidence.Kmsg, evidence.Console}, evidence.Down: {evidence.Console},

	evidence.OutOfMemory: {evidence.BPF}, evidence.OOMReturn: {evidence.BPF}, evidence.Badness: {evidence.BPF},
	evidence.KillDecision: {evidence.BPF}, evidence.Kill: {evidence.BPF}, evidence.MarkVictim: {evidence.BPF},
	evidence.GivenUp: {evidence.BPF}, evidence.TaskExit: {evidence.BPF},

	evidence.UnitShown: {evidence.Systemd}, evidence.ContainerShown: {evidence.Engine},

	evidence.TaskOOM: {evidence.Runtime}, evidence.TaskEnded: {evidence.Runtime},
	evidence.KubeletLine:     {evidence.Kubelet},
	evidence.ContainerStatus: {evidence.API}, evidence.PodStatus: {evidence.API}, evidence.PodEvent: {evidence.API},
	evidence.NodeEvent: {evidence.API}, evidence.NodeCondition: {evidence.API}, evidence.Unreachable: {evidence.API},
}

// told: every event is of a source that tells such, and has a time.
func (a *account) told(found *findings) {
	for _, e := range a.in.Events {
		if e.Kind != evidence.Lost && !slices.Contains(tellers[e.Kind], e.Source) {
			found.add(NobodysEvent, "%q at %d ns is no event of %q", e.Kind, e.AtNS, e.Source)
		}
		if e.AtNS <= 0 && e.Source != evidence.Console {
			found.add(TimeDiffers, "%s of %s has no time", e.Kind, e.Source)
		}
	}
}
