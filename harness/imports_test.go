package harness_test

import (
	"go/build"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/oomlab/oomlab/"

// pure packages take values and return values: what they say comes out the
// same on every machine, from a recording.
var pure = []string{
	"harness/kernel", "harness/oomlog", "harness/oomlog/unpack", "harness/kubelet", "harness/systemd",
	"harness/engine", "harness/scenario", "harness/plan", "harness/predict",
	"harness/evidence", "harness/verdict",
	"harness/selftest", "harness/plaintext", "harness/report", "harness/compare", "harness/chaos", "harness/explain",
	"harness/explain/view", "harness/reproduce", "harness/rank", "harness/trace", "harness/agent/wire",
	"stressor/profile",
}

// impure maps what a pure package must not import to the way out.
var impure = map[string]string{
	"os":      "take an io.Reader or fs.FS; probe opens files",
	"os/exec": "agent starts processes",
	"net":     "nothing here talks to anybody",
	"syscall": "put the number into package kernel",

	"golang.org/x/sys/unix": "put the number into package kernel",
}

// arrows say which of our own packages a package may import. A package that
// is not listed here may import nothing of ours.
var arrows = map[string][]string{
	"harness/allocs":        {},
	"harness/alone":         {},
	"harness/golden":        {},
	"harness/selfboot":      {},
	"harness/plaintext":     {},
	"harness/kernel":        {},
	"harness/oomlog":        {"harness/kernel"},
	"harness/oomlog/unpack": {},
	"stressor/profile":      {},
	"harness/kubelet":       {"harness/kernel"},
	"harness/systemd":       {"harness/kernel"},
	"harness/engine":        {"harness/kernel"},
	"harness/evidence":      {"harness/engine", "harness/kubelet", "harness/kernel"},
	"harness/scenario": {"stressor/profile", "harness/engine", "harness/kernel", "harness/kubelet",
		"harness/systemd"},
	"harness/plan": {"harness/scenario", "stressor/profile", "harness/kernel", "harness/kubelet"},
	"harness/predict": {"harness/plan", "stressor/profile", "harness/engine", "harness/kernel", "harness/kubelet",
		"harness/systemd"},
	"harness/verdict": {"stressor/profile", "harness/engine", "harness/kubelet", "harness/systemd",
		"harness/predict", "harness/plan",
		"harness/evidence", "harness/scenario", "harness/kernel", "harness/oomlog"},
	"harness/compare": {"harness/verdict", "harness/predict", "harness/plan", "harness/evidence",
		"harness/scenario", "harness/kernel", "harness/oomlog"},
	"harness/report": {"harness/plaintext", "harness/engine", "harness/kubelet", "harness/chaos", "harness/compare",
		"harness/verdict", "harness/predict", "harness/plan", "harness/evidence", "harness/scenario", "harness/kernel"},
	"harness/clustertest": {"stressor/profile", "harness/verdict", "harness/predict", "harness/plan",
		"harness/evidence", "harness/scenario", "harness/kernel", "harness/kubelet"},
	"harness/selftest": {"harness/engine", "harness/verdict", "harness/verdict/testdata", "harness/predict",
		"harness/evidence", "harness/kubelet", "harness/kernel"},
	"harness/chaos": {"harness/kubelet", "stressor/profile", "harness/verdict", "harness/predict",
		"harness/scenario", "harness/kernel"},
	"harness/explain": {"harness/plaintext", "harness/predict", "harness/scenario", "harness/plan",
		"harness/kernel", "harness/oomlog"},
	"harness/explain/view": {"harness/explain", "harness/kernel", "harness/plaintext"},
	"harness/reproduce": {"stressor/profile", "harness/explain", "harness/predict", "harness/scenario",
		"harness/plan", "harness/kernel", "harness/oomlog"},
	"harness/rank":   {"harness/plaintext", "harness/explain", "harness/predict", "harness/kernel"},
	"harness/trace":  {"harness/plaintext", "harness/explain", "harness/evidence", "harness/kernel", "harness/oomlog"},
	"harness/judge":  {"harness/kernel", "harness/plaintext", "harness/trace", "harness/verdict"},
	"harness/export": {"harness/trace", "harness/rank", "harness/census"},
	"harness/watch": {"harness/plaintext", "harness/judge", "harness/trace", "harness/rank", "harness/census",
		"harness/observe", "harness/probe", "harness/evidence", "harness/kernel"},
	"harness/census":     {"harness/rank", "harness/probe", "harness/kernel"},
	"harness/host":       {},
	"harness/agent/wire": {"harness/kubelet", "harness/evidence", "harness/plan", "harness/kernel"},
	"scenarios":          {"harness/scenario"},
	"bpf":                {},
	"stressor":           {"stressor/profile"},
	"harness/probe":      {"harness/predict", "harness/kernel"},
	"harness/observe":    {"bpf", "harness/evidence", "harness/kernel"},
	"harness/agent": {"harness/engine", "harness/kubelet", "harness/observe", "harness/probe", "harness/rank",
		"harness/census", "harness/agent/wire",
		"harness/plan", "harness/evidence", "harness/kernel", "stressor/profile"},
	"harness/target": {"harness/scenario", "harness/agent/wire", "harness/evidence"},
	"harness/target/local": {"harness/scenario", "harness/target", "harness/agent", "harness/agent/wire",
		"harness/evidence", "harness/host"},
	"harness/target/vm": {"harness/scenario", "harness/target", "harness/agent/wire", "harness/evidence",
		"harness/kernel", "harness/host", "harness/target/vm/cache", "harness/target/vm/initramfs",
		"harness/target/vm/kernels", "harness/target/vm/qmp"},
	"harness/target/vm/cache":     {"harness/host", "harness/kernel"},
	"harness/target/vm/initramfs": {},
	"harness/target/vm/debian":    {"harness/kernel", "harness/host", "harness/target/vm/cache"},
	"harness/target/vm/kernels":   {"harness/kernel", "harness/target/vm/cache", "harness/target/vm/debian"},
	"harness/target/vm/qmp":       {"harness/host"},
	"harness/target/vm/userland": {"harness/kernel", "harness/host", "harness/target", "harness/target/vm/cache",
		"harness/target/vm/debian"},
	"harness/payload": {},
	"harness": {"harness/target", "harness/agent/wire", "harness/plan", "harness/predict",
		"harness/verdict", "harness/evidence", "harness/scenario", "harness/kernel"},
	"harness/lab": {"harness", "harness/host", "harness/agent", "harness/probe", "harness/target/kube", "harness/chaos",
		"harness/compare", "harness/predict", "harness/target", "harness/target/local", "harness/target/vm",
		"harness/target/vm/cache", "harness/target/vm/debian", "harness/target/vm/initramfs",
		"harness/target/vm/kernels", "harness/target/vm/userland", "harness/payload", "harness/agent/wire",
		"harness/plan", "harness/verdict", "harness/evidence", "harness/scenario", "harness/kernel"},
	"harness/e2e": {"harness/scenario", "harness/lab", "harness/target/kube",
		"harness/target/kube/image", "harness/plan", "harness/report", "harness/trace", "harness/verdict", "scenarios"},
	"harness/target/kube": {"harness/target", "harness/host", "harness/target/kube/image", "harness/target/vm",
		"harness/target/vm/cache", "harness/target/vm/initramfs", "harness/target/vm/kernels", "harness/kubelet",
		"harness/agent/wire", "harness/plan", "harness/scenario", "harness/evidence", "harness/kernel",
		"stressor/profile"},
	"harness/target/kube/image": {"harness/kernel", "harness/target/vm/cache", "harness/target/vm/debian"},
	"harness/guest":             {"harness/agent", "harness/agent/wire"},
	"cmd/oomlab-page":           {"harness/explain/view"},
	"cmd/oomlab-agent":          {"harness/agent", "harness/agent/wire", "harness/guest"},
	"cmd/oomlab": {"harness/plaintext", "harness", "harness/host", "harness/agent/wire", "harness/predict",
		"harness/selftest", "harness/target/kube",
		"harness/target/kube/image", "harness/lab", "harness/chaos", "harness/report", "harness/compare",
		"harness/probe", "harness/observe", "harness/agent", "harness/payload", "harness/target",
		"harness/target/local",
		"harness/target/vm", "harness/target/vm/cache", "harness/target/vm/debian", "harness/target/vm/kernels",
		"harness/target/vm/userland", "harness/verdict",
		"harness/explain", "harness/explain/view", "harness/reproduce", "harness/rank", "harness/census",
		"harness/trace", "harness/watch", "harness/judge", "harness/export", "harness/evidence",
		"harness/plan", "harness/scenario", "harness/kernel", "harness/oomlog", "harness/oomlog/unpack", "scenarios"},
	// for tests of those who fill a cache
	"harness/target/vm/cache/cachetest": {},
}

// owners are the only packages that may import a dependency, and why.
var owners = map[string]struct {
	packages []string
	why      string
}{
	"github.com/cilium/ebpf": {[]string{"bpf"}, "the agent links it, and everything else should do " +
		"without"},
	"github.com/onsi/": {[]string{"harness/e2e"}, "judging stays in package verdict; no " +
		"matcher looks inside one"},
	"github.com/prometheus/": {[]string{"harness/export"}, "metrics are exported in one place"},
	"github.com/spf13/cobra": {[]string{"cmd/oomlab"}, "flags are the command's"},
	"github.com/google/go-containerregistry": {[]string{"harness/target/kube/image"},
		"images are assembled in one place"},
	"github.com/xi2/xz":              {[]string{"harness/oomlog/unpack"}, "logs are opened in one place"},
	"github.com/klauspost/compress/": {[]string{"harness/oomlog/unpack"}, "logs are opened in one place"},
	"k8s.io/": {[]string{"harness/target/kube", "harness/e2e"}, "20 MB that the agent and the stressor must " +
		"not carry"},
	"sigs.k8s.io/": {[]string{"harness/target/kube", "harness/e2e"}, "20 MB that the agent and the stressor must " +
		"not carry"},
}

// packages reads every package of the module with the imports of its code,
// tests left out.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	context := build.Default
	context.GOOS, context.BuildTags = "linux", []string{"e2e"}
	err := filepath.WalkDir("..", func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if name := d.Name(); dir != ".." && (strings.HasPrefix(name, ".") || name == "testdata" ||
			name == "node_modules") {
			return fs.SkipDir
		}
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil && dir != ".." {
			return fs.SkipDir
		}
		p, err := context.ImportDir(dir, 0)
		if _, none := err.(*build.NoGoError); none {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel("..", dir)
		if rel == filepath.Join("harness", "e2e") {
			p.Imports = append(p.Imports, p.TestImports...)
		}
		all[filepath.ToSlash(rel)] = p.Imports
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestImportsPointOneWay keeps every arrow of docs/architecture.md.
func TestImportsPointOneWay(t *testing.T) {
	all := packages(t)
	for name, imports := range all {
		may, listed := arrows[name]
		if !listed {
			t.Errorf("%s is not in the list of arrows; say there what it may import", name)
			continue
		}
		for _, i := range imports {
			if own, ok := strings.CutPrefix(i, module); ok && !slices.Contains(may, own) {
				t.Errorf("%s imports %s, and no arrow points there", name, own)
			}
		}
	}
	for name := range arrows {
		if _, ok := all[name]; !ok {
			t.Errorf("%s is in the list of arrows and does not exist any more", name)
		}
	}
}

// TestJudgingIsPure keeps the half of oomlab that predicts and judges away from
// the machine it happens to run on.
func TestJudgingIsPure(t *testing.T) {
	all := packages(t)
	for _, name := range pure {
		imports, ok := all[name]
		if !ok {
			t.Errorf("%s does not exist any more", name)
		}
		for _, i := range imports {
			if hint := impure[i]; hint != "" {
				t.Errorf("%s imports %s; %s", name, i, hint)
			}
		}
	}
}

// TestPureCodeNeverReadsTheClock: a verdict judged again is the same.
func TestPureCodeNeverReadsTheClock(t *testing.T) {
	for _, name := range pure {
		files, err := filepath.Glob(path.Join("..", name, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %d files", name, err, len(files))
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, call := range []string{"time.Now(", "time.Since(", "time.Until(", "time.After("} {
				if strings.Contains(string(source), call) {
					t.Errorf("%s calls %s); take the time as a value", file, call)
				}
			}
		}
	}
}

// TestNobodySleeps: a sleep is never a synchronisation. Whatever is waited for
// has an event, and a deadline.
func TestNobodySleeps(t *testing.T) {
	for name := range packages(t) {
		files, err := filepath.Glob(path.Join("..", name, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(source), "time."+"Sleep(") {
				t.Errorf("%s sleeps; wait for an event with a deadline", file)
			}
		}
	}
}

// TestDependenciesHaveOneOwner keeps large dependencies where they belong.
func TestDependenciesHaveOneOwner(t *testing.T) {
	for name, imports := range packages(t) {
		for _, i := range imports {
			for prefix, owner := range owners {
				if strings.HasPrefix(i, prefix) && !slices.Contains(owner.packages, name) {
					t.Errorf("%s imports %s, which only %v may: %s", name, i, owner.packages, owner.why)
				}
			}
		}
	}
}
