//go:build !notlinux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/alone"
	"github.com/oomlab/oomlab/harness/judge"
	"github.com/oomlab/oomlab/harness/observe"
	"github.com/oomlab/oomlab/harness/verdict"
)

// judged runs oomlab judge, and returns what it says and its exit status.
func judged(t *testing.T, args ...string) (j judge.Judgement, status int) {
	t.Helper()
	var out, said bytes.Buffer
	args = append([]string{"judge", "-o", "json", "--settle", "200ms"}, args...)
	cmd := exec.CommandContext(t.Context(), "oomlab", args...)
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	status = cmd.ProcessState.ExitCode()
	if status == exitSkip {
		t.Skipf("kills cannot be seen here: %s", said.String())
	}
	if err := json.Unmarshal(out.Bytes(), &j); err != nil {
		t.Fatalf("%v: %s%s", err, out.String(), said.String())
	}
	return j, status
}

// TestJudge: the hog of an experiment is told from a bystander, whoever its parent was; what
// is claimed of it passes, and fails when it is inverted.
func TestJudge(t *testing.T) {
	dir := smallCgroup(t)
	events, err := observe.OpenProcEvents(func(observe.ProcEvent) {}, func(uint64, string) {})
	if err != nil {
		t.Skipf("who was started by whom cannot be told for certain: %v", err)
	}
	events.Close()
	alone.OnMachine(t) // whoever else is killed meanwhile is no part of it
	hog := fmt.Sprintf(`echo 0 > '%s/cgroup.procs' && tail /dev/zero`, dir)
	deep := fmt.Sprintf("echo 0 > %s/cgroup.procs; tail /dev/zero", strings.ReplaceAll(dir, " ", `\\ `))
	// its parent is gone when it is killed
	orphan := fmt.Sprintf(`(sh -c "sleep 0.3; echo 0 > '%s/cgroup.procs' && exec tail /dev/zero" &); sleep 2`, dir)
	for _, c := range []struct {
		name string
		args []string
		want verdict.Verdict
	}{
		{"its own", []string{"--during", hog}, verdict.Pass},
		{"an orphan of it", []string{"--during", orphan}, verdict.Pass},
		{"a grandchild whose parents are gone with it", []string{"--during", "sh -c 'sh -c \"" + deep + "; :\"; :'; :"},
			verdict.Pass},
		{"by name", []string{"--during", hog, "--victim", "tail"}, verdict.Pass},
		{"by cgroup", []string{"--during", hog, "--victim", cgroupPath(dir), "--kills", "1"}, verdict.Pass},
		{"another name", []string{"--during", hog, "--victim", "head"}, verdict.Fail},
		{"another cgroup", []string{"--during", hog, "--victim", cgroupPath(dir) + "/none"}, verdict.Fail},
		{"nobody", []string{"--during", hog, "--kills", "0"}, verdict.Fail},
		{"nobody is killed", []string{"--during", "true"}, verdict.Fail},
		{"nobody, as expected", []string{"--during", "true", "--kills", "0"}, verdict.Pass},
		{"two", []string{"--during", hog, "--kills", "2..3"}, verdict.Fail},
	} {
		t.Run(c.name, func(t *testing.T) {
			j, status := judged(t, c.args...)
			if j.Verdict != c.want || status != statusOfVerdict(c.want) {
				t.Errorf("%s, exit status %d; want %s: %q", j.Verdict, status, c.want, j.Reasons)
			}
			named := 0
			for _, w := range j.Witnesses {
				if w.Kills != len(j.Kills) && w.Error == "" {
					t.Errorf("%s tells of %d kills, of %d", w.Name, w.Kills, len(j.Kills))
				}
				if w.PIDs != nil && w.Error == "" {
					named++
				}
			}
			if named == 0 {
				t.Errorf("nobody names a victim: %+v", j.Witnesses)
			}
			for _, k := range j.Kills {
				if k.Own == nil || !*k.Own || k.Victim.Comm != "tail" {
					t.Errorf("%+v is not the command's own", k.Victim)
				}
			}
		})
	}
	t.Run("a bystander", func(t *testing.T) {
		begun := filepath.Join(t.TempDir(), "begun")
		bystander := exec.Command("sh", "-c",
			`until [ -e "$1" ]; do sleep 0.1; done; echo 0 > "$0/cgroup.procs" && exec tail /dev/zero`, dir, begun)
		if err := bystander.Start(); err != nil {
			t.Fatal(err)
		}
		j, status := judged(t, "--during", "touch "+begun+"; sleep 4")
		if err := bystander.Wait(); err == nil {
			t.Fatal("it was to be killed")
		}
		i := slices.IndexFunc(j.Kills, func(k judge.Kill) bool { return k.Victim.PID == bystander.Process.Pid })
		if status != exitFail || i < 0 || j.Kills[i].Own == nil || *j.Kills[i].Own || j.Kills[i].Expected ||
			!strings.Contains(j.Reasons[0], "was killed, which was not expected") {
			t.Errorf("exit status %d, %q: %+v", status, j.Reasons, j.Kills)
		}
	})
	t.Run("another's SIGKILL", func(t *testing.T) {
		if _, err := exec.LookPath("pkill"); err != nil {
			t.Skipf("needs pkill: %v", err)
		}
		j, _ := judged(t, "--kills", "0", "--during", "sleep 0.4321")
		if j.Ended != "exit status 0" || len(j.Signals) > 0 {
			t.Errorf("nobody ended it: %s, %+v", j.Ended, j.Signals)
		}
		begun := filepath.Join(t.TempDir(), "begun")
		killer := exec.Command("sh", "-c",
			`until [ -e "$0" ]; do sleep 0.1; done; sleep 0.5; exec pkill -KILL -f "^sleep 54.321$"`, begun)
		if err := killer.Start(); err != nil {
			t.Fatal(err)
		}
		j, status := judged(t, "--kills", "0", "--during", "touch "+begun+"; exec sleep 54.321")
		if err := killer.Wait(); err != nil {
			t.Fatal(err)
		}
		if status != exitPass || j.Ended != "signal: killed" {
			t.Errorf("exit status %d; it ended with %s", status, j.Ended)
		}
		if j.Witnesses[0].Error == "" && (len(j.Signals) != 1 || j.Signals[0].Trigger == nil ||
			j.Signals[0].Trigger.PID != killer.Process.Pid || j.Signals[0].Signal != "SIGKILL") {
			t.Errorf("%+v does not say who killed it", j.Signals)
		}
	})
}

// TestJudgeSince: a kill is judged that nobody watched, and one of before is not.
func TestJudgeSince(t *testing.T) {
	dir := smallCgroup(t)
	if kmsg, err := os.OpenFile("/dev/kmsg", os.O_RDWR, 0); err != nil {
		t.Skipf("needs the kernel log: %v", err)
	} else {
		kmsg.Close()
	}
	alone.OnMachine(t)
	since := func(then time.Time, args ...string) (judge.Judgement, int) {
		var out, said bytes.Buffer
		args = append([]string{"judge", "-o", "json", "--since", then.Format(time.RFC3339Nano)}, args...)
		status := run(t.Context(), args, nil, &out, &said)
		var j judge.Judgement
		if err := json.Unmarshal(out.Bytes(), &j); err != nil {
			t.Fatalf("%v: %s%s", err, out.String(), said.String())
		}
		return j, status
	}
	before := time.Now()
	hog := exec.Command("sh", "-c", `echo 0 > "$0/cgroup.procs" && exec tail /dev/zero`, dir)
	if err := hog.Run(); err == nil {
		t.Fatal("it was to be killed")
	}
	after := time.Now().Add(100 * time.Millisecond)
	for _, c := range []struct {
		then time.Time
		args []string
		want verdict.Verdict
	}{
		{before, []string{"--victim", cgroupPath(dir), "--kills", "1"}, verdict.Pass},
		{before, []string{"--victim", "head"}, verdict.Fail},
		{before, []string{"--kills", "0"}, verdict.Fail},
		{after, []string{"--kills", "0"}, verdict.Pass},
		{before.AddDate(-30, 0, 0), []string{"--victim", "tail"}, verdict.Broken},
	} {
		for time.Now().Before(after) {
			runtime.Gosched()
		}
		if j, status := since(c.then, c.args...); j.Verdict != c.want || status != statusOfVerdict(c.want) {
			t.Errorf("since %s, %q: %s, exit status %d; want %s: %q", c.then, c.args, j.Verdict, status, c.want, j.Reasons)
		}
	}
}

// TestJudgeMistakes: what is wrong with the command line is said before anything is run.
func TestJudgeMistakes(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "nothing says what is expected"},
		{[]string{"--victim", "a"}, "nothing ends the experiment"},
		{[]string{"--during", " "}, "the command is empty"},
		{[]string{"--during", "true", "--kills", "3..1"}, "neither a number nor a range"},
		{[]string{"--during", "true", "--kills", "-1"}, "neither a number nor a range"},
		{[]string{"--during", "true", "--kills", "0", "--victim", "a"}, "contradict each other"},
		{[]string{"--during", "true", "--victim", "["}, `--victim "["`},
		{[]string{"--during", "true", "--for", "0s"}, "no time to watch"},
		{[]string{"--during", "true", "--skip-exit", "1"}, "--skip-exit 1"},
		{[]string{"--since", "-10min"}, "nothing says what is expected"},
		{[]string{"--since", "-10min", "--kills", "0", "--during", "true"}, "--since and --during contradict each other"},
		{[]string{"--since", "-10min", "--kills", "0", "--for", "1m"}, "--since and --for contradict each other"},
		{[]string{"--since", "", "--kills", "0"}, `--since "" is no time`},
		{[]string{"stress-ng"}, ""},
	} {
		var out, said bytes.Buffer
		status := run(t.Context(), append([]string{"judge"}, c.args...), nil, &out, &said)
		if status != exitUsage || !strings.Contains(said.String(), c.want) {
			t.Errorf("%q: exit status %d, %q; want %q", c.args, status, said.String(), c.want)
		}
	}
}
