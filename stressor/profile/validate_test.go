package profile

import "testing"

func TestValidate(t *testing.T) {
	tooHigh := 1001
	with := func(steps ...Step) Profile { return Profile{Name: "p", Steps: steps} }
	forking := func(child Profile) Profile {
		return Profile{Name: "p", Steps: []Step{{Op: Fork, Name: "c"}}, Children: map[string]Profile{"c": child}}
	}
	sharing := func(child Profile) Profile {
		child.SharesMemory = true
		return forking(child)
	}
	tests := []struct {
		name string
		in   Profile
		want string // empty: nothing is wrong
	}{
		{"nothing to do", with(), ""},
		{"all that takes no amount", with(Step{Op: Touch}, Step{Op: Shmem}, Step{Op: File}, Step{Op: Write},
			Step{Op: Hold}), ""},
		{
			"a child that is forked and waited for",
			Profile{Name: "p", Steps: []Step{{Op: Fork, Name: "c"}, {Op: Wait, Name: "c"}},
				Children: map[string]Profile{"c": {}}},
			"",
		},
		{"a child that shares memory and holds", sharing(Profile{Steps: []Step{{Op: Hold}}}), ""},
		{"no name", Profile{}, "name: a stressor needs one"},
		{"adj out of range", Profile{Name: "p", OOMScoreAdj: &tooHigh}, "oom_score_adj: 1001 is not between -1000 " +
			"and 1000"},
		{"negative amount", with(Step{Op: Touch, Bytes: -1}), "touch=-1: an amount cannot be negative"},
		{"free without an amount", with(Step{Op: Touch}, Step{Op: Free}), "free=0: how much?"},
		{"sawtooth without an amount", with(Step{Op: Sawtooth}), "sawtooth=0: how much?"},
		{"leak without a rate", with(Step{Op: Leak}), "leak=0/s: how fast?"},
		{"sleep without a time", with(Step{Op: Sleep}), "sleep=0s: how long?"},
		{"exit with what no exit status can be", with(Step{Op: Exit, Code: 256}),
			"exit=256: 256 is not between 0 and 255"},
		{"step that is never reached", with(Step{Op: Leak, Rate: 1}, Step{Op: Hold}),
			"leak=1/s: a step comes after it, and is never done"},
		{"wait for who was not forked", Profile{Name: "p", Steps: []Step{{Op: Wait, Name: "c"}},
			Children: map[string]Profile{"c": {}}}, "wait=c: no earlier step forks it"},
		{
			"a child that is forked twice",
			Profile{Name: "p", Steps: []Step{{Op: Fork, Name: "c"}, {Op: Fork, Name: "c"}},
				Children: map[string]Profile{"c": {}}},
			"fork=c: it is forked already",
		},
		{"a child by another name", forking(Profile{Name: "d"}), `child=c: name: "d" is not the name it is forked by`},
		{"a child that is never forked", Profile{Name: "p", Children: map[string]Profile{"c": {}}},
			"child=c: no step forks it"},
		{"a child's step", forking(Profile{Steps: []Step{{Op: "jump"}}}), `child=c: jump: no step is called "jump"`},
		{"a path that no line can have", with(Step{Op: File, Path: "/a,b"}), "file=0,path=/a,b: a name or a path " +
			"cannot have a comma in it"},
		{"a child that shares memory and works", sharing(Profile{Steps: []Step{{Op: Touch}}}),
			"child=c: touch=0: a process that shares its parent's memory can only hold"},
		{"a child that shares memory and has threads", sharing(Profile{Threads: 1}),
			"child=c: shares_memory: such a process has no threads and no children"},
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
		{"no deadline", Launch{}, "deadline: 0s is not a time; nothing is launched without a deadline"},
		{"long comm", Launch{Comm: "sixteen-bytes-ab", DeadlineMS: 1},
			`comm: "sixteen-bytes-ab" is longer than 15 bytes, and the kernel would cut it`},
		{"empty program", Launch{Argv: []string{""}, DeadlineMS: 1}, `--: "" is not a program`},
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
