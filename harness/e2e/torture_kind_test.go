//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"
)

// kindBoots is how long a cluster of kind's takes at most: to be created, on a busy machine,
// if there is no snapshot of it, or to be restored.
const (
	kindBoots = 40 * time.Minute
)

// disturbKind kills what belongs to a cluster of kind's with SIGKILL, while it is created,
// restored or used. What is left then, oomlab clean removes, and the next cluster is as good
// as any.
func disturbKind(ctx context.Context, t *torture) {
	config, err := filepath.Abs("../../kind-config/default.yaml")
	Expect(err).NotTo(HaveOccurred())
	t.linkSnapshots()
	stage := []string{"created", "restored", "used"}[t.IntN(3)]
	if stage == "created" {
		source, err := os.ReadFile(config)
		Expect(err).NotTo(HaveOccurred())
		other := filepath.Join(filepath.Dir(t.honest), "kind.yaml") // of which there is no snapshot
		Expect(os.WriteFile(other, fmt.Appendf(source, "# %d\n", t.Uint64()), 0o600)).To(Succeed())
		t.killKind(ctx, &stage, time.Minute, "cluster", "up", "--kind", other)
	} else if stage == "restored" {
		t.killKind(ctx, &stage, 10*time.Second, "cluster", "up", "--kind", config)
	} else {
		t.upKind(ctx, config)
		t.killKind(ctx, &stage, 30*time.Second, t.onKind()...)
	}
	t.about += ", while it was " + stage
	out, err := t.command("clean").CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), "%s: clean: %s", t.about, out)
	Eventually(ctx, t.processes).WithTimeout(20*time.Second).WithPolling(20*time.Millisecond).
		Should(BeEmpty(), t.about)
	left, err := os.ReadDir(filepath.Join(t.cache, "cluster"))
	if !errors.Is(err, fs.ErrNotExist) {
		Expect(err).NotTo(HaveOccurred())
	}
	for _, file := range left {
		Expect(file.Name()).To(HavePrefix(".lock"), t.about)
	}
	t.upKind(ctx, config)
	cmd := t.command(t.onKind()...)
	said := <-start(cmd)
	Expect(cmd.ProcessState.ExitCode()).To(BeZero(), "%s: a run on the next cluster\n%s", t.about, said)
	out, err = t.command("cluster", "down").CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), "%s: down: %s", t.about, out)
	Expect(t.processes()).To(BeEmpty(), t.about)
}

// linkSnapshots lets the torture use the snapshots of this machine: that of a cluster of
// kind's takes minutes to make.
func (t *torture) linkSnapshots() {
	all, err := filepath.Glob(filepath.Join(t.kept, "[^.]*"))
	Expect(err).NotTo(HaveOccurred())
	Expect(os.MkdirAll(filepath.Join(t.cache, "snapshots"), 0o700)).To(Succeed())
	for _, dir := range all {
		err := os.Symlink(dir, filepath.Join(t.cache, "snapshots", filepath.Base(dir)))
		if !errors.Is(err, fs.ErrExist) {
			Expect(err).NotTo(HaveOccurred())
		}
	}
}

// upKind has a cluster of kind's up.
func (t *torture) upKind(ctx context.Context, config string) {
	wait, cancel := context.WithTimeout(ctx, kindBoots)
	defer cancel()
	cmd := t.command("cluster", "up", "--kind", config)
	ended := start(cmd)
	select {
	case out := <-ended:
		Expect(cmd.ProcessState.ExitCode()).To(BeZero(), "%s: cluster up: %s", t.about, out)
	case <-wait.Done():
		_ = cmd.Process.Kill()
		Fail(t.about + ": cluster up did not end\n" + <-ended)
	}
}

// onKind are the arguments of a run on the cluster that is up.
func (t *torture) onKind() []string {
	return []string{"run", "--runs-dir", t.runs, "--kubeconfig", filepath.Join(t.cache, "cluster", "kubeconfig"),
		"kube/guaranteed-over-its-own-limit"}
}

// killKind runs oomlab and kills it, the emulator or the keeper of the cluster at a random
// moment, and waits for oomlab's end.
func (t *torture) killKind(ctx context.Context, stage *string, takes time.Duration, args ...string) {
	cmd := t.command(args...)
	ended := start(cmd)
	t.momentOf(takes)
	all := t.processes()
	if len(all) > 0 {
		victim := all[t.IntN(len(all))]
		pid, comm, _ := strings.Cut(victim, " ")
		n, err := strconv.Atoi(pid)
		Expect(err).NotTo(HaveOccurred())
		*stage += ", SIGKILL to " + comm
		_ = unix.Kill(n, unix.SIGKILL) // it may have ended
	}
	// what lost its cluster notices; what goes on is interrupted
	select {
	case <-ended:
	case <-time.After(time.Duration(t.IntN(20)) * time.Second):
		_ = cmd.Process.Kill()
		<-ended
	case <-ctx.Done():
		_ = cmd.Process.Kill()
		<-ended
		Fail(t.about + ": interrupted")
	}
}

// processes are those that have the cache of the torture: "PID COMM".
func (t *torture) processes() []string {
	var out []string
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	Expect(err).NotTo(HaveOccurred())
	for _, file := range all {
		env, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(env, []byte("OOMLAB_CACHE="+t.cache+"\x00")) {
			continue // ended, or another's
		}
		dir := filepath.Dir(file)
		if comm, err := os.ReadFile(filepath.Join(dir, "comm")); err == nil {
			out = append(out, filepath.Base(dir)+" "+strings.TrimSpace(string(comm)))
		}
	}
	return out
}
