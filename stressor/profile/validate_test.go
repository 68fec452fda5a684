package profile

import "testing"

func TestValidate(t *testing.T) {
	tooHigh := 1001
	with := func(steps ...Step) Profile { return Profile{Name: "p", Steps: steps} }
	sharing := func(child Profile) Profile {
		child.SharesMemory = true
		return Profile{Name: "p", Children: map[string]Profile{"c": child}}
	}
	tests := []struct {
		name string
		in   Profile
		want string // empty: nothing is wrong
	}{
		{"nothing to do", with(), ""},
		{"all that takes no amount", with(Step{Op: Touch}, Step{Op: Shmem}, Step{Op: File}, Step{Op: Write}, Step{Op: Hold}), ""},
		{
			"a child that is forked and waited for",
			Profile{Name: "p", Steps: []Step{{Op: Fork, Name: "c"}, {Op: Wait, Name: "c"}}, Children: map[string]Profile{"c": {}}},
			"",
		},
		{"a child that shares memory and holds", sharing(Profile{Steps: []Step{{Op: Hold}}}), ""},
		{"no name", Profile{}, "name: a stressor needs one"},
		{"adj out of range", Profile{Name: "p", OOMScoreAdj: &tooHigh}, "oom_score_adj: 1001 is not between -1000 and 1000"},
		{"negative amount", with(Step{Op: Touch, Bytes: -1}), "steps[0]: touch: bytes, rate and duration_ms: none of them can be negative"},
		{"free without an amount", with(Step{Op: Touch}, Step{Op: Free}), "steps[1]: free: bytes: how much?"},
		{"sawtooth without an amount", with(Step{Op: Sawtooth}), "steps[0]: sawtooth: bytes: how much?"},
		{"leak without a rate", with(Step{Op: Leak}), "steps[0]: leak: rate: how fast?"},
		{"sleep without a time", with(Step{Op: Sleep}), "steps[0]: sleep: duration_ms: how long?"},
		{"exit with what no exit status can be", with(Step{Op: Exit, Code: 256}), "steps[0]: exit: code: 256 is not between 0 and 255"},
		{"step that is never reached", with(Step{Op: Leak, Rate: 1}, Step{Op: Hold}), "steps[0]: leak never ends, and a step comes after it"},
		{"wait for who was not forked", Profile{Name: "p", Steps: []Step{{Op: Wait, Name: "c"}}, Children: map[string]Profile{"c": {}}}, `steps[0]: wait: name: no earlier step forks "c"`},
		{
			"a child that is forked twice",
			Profile{Name: "p", Steps: []Step{{Op: Fork, Name: "c"}, {Op: Fork, Name: "c"}}, Children: map[string]Profile{"c": {}}},
			`steps[1]: fork: name: "c" is forked already`,
		},
		{"a child by another name", Profile{Name: "p", Children: map[string]Profile{"c": {Name: "d"}}}, `children["c"]: name: "d" is not the name it is forked by`},
		{"a child's step", Profile{Name: "p", Children: map[string]Profile{"c": with(Step{Op: "jump"})}}, `children["c"]: name: "p" is not the name it is forked by`},
		{"a step of a child without a name", Profile{Name: "p", Children: map[string]Profile{"c": {Steps: []Step{{Op: "jump"}}}}}, `children["c"]: steps[0]: jump: op: no step is called "jump"`},
		{"a child that shares memory and works", sharing(Profile{Steps: []Step{{Op: Touch}}}), `children["c"]: steps[0]: touch: a process that shares its parent's memory can only hold`},
		{"a child that shares memory and outlives", sharing(Profile{OutlivesParent: true}), `children["c"]: shares_memory: such a process has no threads, children, nice, uid or ignored signals, and dies with its parent`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := tt.in.Validate(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestValidateLaunch(t *testing.T) {
	tests := []struct {
		name string
		in   Launch
		want string
	}{
		{"a stressor", Launch{DeadlineMS: 1}, ""},
		{"no deadline", Launch{}, "deadline_ms: 0 is not a time; nothing is launched without a deadline"},
		{"long comm", Launch{Comm: "sixteen-bytes-ab", DeadlineMS: 1}, `comm: "sixteen-bytes-ab" is longer than 15 bytes, and the kernel would cut it`},
		{"empty program", Launch{Argv: []string{""}, DeadlineMS: 1}, `argv[0]: "" is not a program`},
		{"negative user", Launch{UID: -1, DeadlineMS: 1}, "uid: -1 is not a user"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := tt.in.Validate(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
