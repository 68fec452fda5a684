//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/verdict"
)

// binary is what make build leaves.
const binary = "../../bin/oomlab"

// A run that is killed with SIGKILL, at whatever moment, leaves no process, and
// no file that `oomlab clean` does not remove. One at a time: a run on this machine
// waits for those of others, and is to be killed at a certain moment.
var _ = Describe("a run that is killed", Serial, Label(string(scenario.Local), string(scenario.VM), "killed"), func() {
	for _, target := range []scenario.Target{scenario.VM, scenario.Local} {
		for _, after := range []time.Duration{0, 400 * time.Millisecond, 1200 * time.Millisecond} {
			It(fmt.Sprintf("on target %s, %s after its first process started", target, after),
				SpecTimeout(2*time.Minute), func(ctx SpecContext) {
					if target == scenario.Local && os.Geteuid() != 0 {
						Skip("local scenarios need root")
					}
					runs := GinkgoT().TempDir()
					// it holds what it has for several seconds
					oomlab := exec.Command(binary, "run", "--target", string(target), "--runs-dir", runs,
						"memcg/two-kills-in-a-row")
					Expect(oomlab.Start()).To(Succeed())
					ended := make(chan error, 1)
					go func() { ended <- oomlab.Wait() }()
					var family map[int]string
					Eventually(ctx, func() int {
						select {
						case <-ended:
							if oomlab.ProcessState.ExitCode() == 4 {
								Skip("this machine cannot run it; oomlab doctor says why")
							}
							Fail("it ended before it started anything: " + oomlab.ProcessState.String())
						default:
						}
						family = descendants(oomlab.Process.Pid)
						return len(family)
					}).WithTimeout(time.Minute).WithPolling(20 * time.Millisecond).Should(BeNumerically(">", 0))
					select {
					case <-time.After(after): // the moment is what varies; nothing is waited for
					case <-ctx.Done():
					}
					for pid, start := range descendants(oomlab.Process.Pid) {
						family[pid] = start
					}
					Expect(oomlab.Process.Kill()).To(Succeed())
					Eventually(ctx, ended).WithTimeout(10 * time.Second).Should(Receive())

					Eventually(ctx, func() []string { return living(family) }).
						WithTimeout(20 * time.Second).WithPolling(20 * time.Millisecond).Should(BeEmpty())
					out, err := exec.Command(binary, "clean").CombinedOutput()
					Expect(err).NotTo(HaveOccurred(), string(out))
					Expect(leftCgroups(runs)).To(BeEmpty())
					lists, err := filepath.Glob("/run/oomlab/*two-kills-in-a-row*")
					Expect(err).NotTo(HaveOccurred())
					Expect(lists).To(BeEmpty())
				})
		}
	}
})

// descendants are the processes below pid, with the time each was started, which
// tells a process from another that gets its pid later.
func descendants(pid int) map[int]string {
	children := map[int][]int{}
	starts := map[int]string{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		p, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if parent, start, ok := stat(p); ok {
			children[parent] = append(children[parent], p)
			starts[p] = start
		}
	}
	out := map[int]string{}
	for todo := children[pid]; len(todo) > 0; todo = todo[1:] {
		out[todo[0]] = starts[todo[0]]
		todo = append(todo, children[todo[0]]...)
	}
	return out
}

// stat reads the parent and the start time of a process that is no zombie.
func stat(pid int) (parent int, start string, ok bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, "", false
	}
	fields := strings.Fields(string(data)[strings.LastIndexByte(string(data), ')')+1:])
	if len(fields) < 20 || fields[0] == "Z" {
		return 0, "", false
	}
	parent, err = strconv.Atoi(fields[1])
	return parent, fields[19], err == nil
}

func living(family map[int]string) []string {
	var out []string
	for pid, born := range family {
		if _, start, ok := stat(pid); ok && start == born {
			comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			out = append(out, fmt.Sprintf("%d (%s)", pid, strings.TrimSpace(string(comm))))
		}
	}
	return out
}

// leftCgroups are the cgroups of runs, by their plans, that are still there.
func leftCgroups(runs string) []string {
	var out []string
	plans, err := filepath.Glob(filepath.Join(runs, "*", verdict.PlanFile))
	if err != nil {
		return []string{err.Error()}
	}
	bases := map[string]bool{}
	for _, name := range plans {
		var p plan.Plan
		data, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(data, &p)
		}
		if err != nil {
			continue // half-written when oomlab was killed: nothing was started yet
		}
		bases[p.Base] = true
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && bases[d.Name()] {
			out = append(out, path)
		}
		return nil // a cgroup may go while it is looked at
	})
	return out
}
