package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/oomlab/oomlab/stressor/profile"
)

func inAPod(launch profile.Launch, prof profile.Profile) *exec.Cmd {
	cmd := exec.Command(stressorBinary, "pod", launch.Line(), prof.Line())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// TestPod: a container's stressor forks, says on standard output when it is
// ready, and holds without anybody at the other end.
func TestPod(t *testing.T) {
	cmd := inAPod(profile.Launch{Comm: "main", DeadlineMS: patience.Milliseconds()}, profile.Profile{
		Name: "web/main",
		Steps: []profile.Step{{Op: profile.Fork, Name: "worker"}, {Op: profile.Touch, Bytes: 1 << 20},
			{Op: profile.Hold}},
		Children: map[string]profile.Profile{"worker": {Steps: []profile.Step{{Op: profile.Touch, Bytes: 1 << 20},
			{Op: profile.Hold}}}},
	})
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	ready := map[string]bool{}
	for lines := bufio.NewScanner(out); len(ready) < 2 && lines.Scan(); {
		var r profile.Report
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("%q: %v", lines.Bytes(), err)
		}
		if r.Event == profile.Ready {
			if r.Held != 1<<20 || r.Resident != r.Held {
				t.Errorf("%s holds %d bytes, %d resident, want 1Mi", r.Name, r.Held, r.Resident)
			}
			ready[r.Name] = true
		}
	}
	if !ready["web/main"] || !ready["worker"] {
		t.Fatalf("ready are %v", ready)
	}
	// It and what it forks know where they are.
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", cmd.Process.Pid))
	if err != nil || !strings.Contains(string(environ), inPodEnv+"=1") {
		t.Errorf("its environment is %q, %v", environ, err)
	}
	if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("it does not hold: %v", err)
	}
}

func TestPodRefuses(t *testing.T) {
	launch := profile.Launch{DeadlineMS: 1000}
	hold := profile.Profile{Name: "a", Steps: []profile.Step{{Op: profile.Hold}}}
	for name, test := range map[string]struct {
		launch profile.Launch
		prof   profile.Profile
		want   string
	}{
		"no deadline":     {profile.Launch{}, hold, "deadline: 0s is not a time"},
		"another program": {profile.Launch{Argv: []string{"sh"}, DeadlineMS: 1000}, hold, "are the kubelet's"},
		"no step": {launch, profile.Profile{Name: "a", Steps: []profile.Step{{Op: "dance"}}},
			`no step is called "dance"`},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := inAPod(test.launch, test.prof).CombinedOutput()
			if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != profile.ExitUsage ||
				!strings.Contains(string(out), test.want) {
				t.Errorf("%v: %s; want status 64 and %q", err, out, test.want)
			}
		})
	}
}
