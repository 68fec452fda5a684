//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"

	"github.com/oomlab/oomlab/harness/lab"
	"github.com/oomlab/oomlab/harness/report"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/verdict"
	"github.com/oomlab/oomlab/scenarios"
)

var (
	targetFlag = flag.String("oomlab.target", "vm", "where scenarios run: vm, local, kube, or empty to let each "+
		"choose; those that need a kubelet run on a cluster in any case")
	kernelFlag = flag.String("oomlab.kernel", "", "kernel of the VMs: a series, a version or a path; empty: the "+
		"default one")
	runsFlag      = flag.String("oomlab.runs", "runs", "where run directories are kept")
	allowSkipFlag = flag.Bool("oomlab.allow-skip", false, "let a scenario that cannot run here pass as skipped")
	kubeFlag      = flag.String("oomlab.kubeconfig", "", "kubeconfig of the cluster for scenarios with pods; "+
		"empty: a VM cluster")
	nodeOOMFlag   = flag.String("oomlab.allow-node-oom", "", "node of that cluster that may run out of memory")
	containerFlag = flag.Bool("oomlab.in-container", false, "the node of a VM cluster is a container in its VM")
	tableFlag     = flag.String("oomlab.table", "", "write the table of verdicts to this file instead of printing it")
	junitFlag     = flag.String("oomlab.junit", "", "write the verdicts as JUnit to this file")
)

// specTimeout bounds one scenario, the boot for a first snapshot included; a
// node of a cluster takes its time to boot.
const (
	specTimeout = 6 * time.Minute
	kubeTimeout = 20 * time.Minute
)

// entryName is what a verdict is called among a spec's report entries.
const entryName = "verdict"

var laboratory *lab.Lab

func TestScenarios(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "scenarios")
}

var _ = BeforeSuite(func() {
	runs, err := filepath.Abs(*runsFlag)
	Expect(err).NotTo(HaveOccurred())
	o := lab.Options{
		Target: scenario.Target(*targetFlag), Kernel: *kernelFlag, RunsDir: runs,
		Log: func(line string) { GinkgoWriter.Println(line) },
	}
	o.Cluster.Kubeconfig, o.Cluster.Container = *kubeFlag, *containerFlag
	if *nodeOOMFlag != "" {
		o.Cluster.AllowNodeOOM = []string{*nodeOOMFlag}
	}
	laboratory, err = lab.Open(o)
	Expect(err).NotTo(HaveOccurred())
})

var _ = AfterSuite(func() {
	if laboratory != nil {
		Expect(laboratory.Close()).To(Succeed())
	}
})

var _ = Describe("scenario", func() {
	all, err := scenarios.All()
	if err != nil {
		panic(err) // a test of package scenarios says more
	}
	for _, s := range all {
		labels := Label(append(scenario.TargetNames(s.Targets...), path.Dir(s.Name))...)
		if s.Needs.Userland != "" {
			labels = append(labels, "userland") // its disk takes minutes to make
		}
		timeout := specTimeout
		if len(s.Pods) > 0 {
			timeout = kubeTimeout
		}
		It(s.Name, labels, SpecTimeout(timeout), func(ctx SpecContext) {
			source, err := scenarios.Source(s.Name)
			Expect(err).NotTo(HaveOccurred())
			result, err := laboratory.RunOne(context.Context(ctx), lab.Job{Scenario: s, Source: source}, nil)
			Expect(err).NotTo(HaveOccurred())
			AddReportEntry(entryName, ReportEntryVisibilityNever, result)
			switch result.Verdict {
			case verdict.Pass:
			case verdict.Skip:
				if *allowSkipFlag {
					Skip(result.Reason)
				}
				Fail("unexpected skip: " + result.Reason)
			default:
				var text strings.Builder
				if err := report.Text(&text, result, report.Options{Width: 80, Verbose: true}); err != nil {
					text.WriteString(err.Error())
				}
				Fail(fmt.Sprintf("%s: %s\n\n%s", result.Verdict, result.Reason, text.String()))
			}
		})
	}
})

var _ = ReportAfterSuite("table of verdicts", func(r Report) {
	var results []verdict.Result
	for _, spec := range r.SpecReports {
		n := len(results)
		for _, entry := range spec.ReportEntries {
			if result, ok := verdictOf(entry); ok {
				results = append(results, result)
			}
		}
		if len(results) == n && spec.Failed() {
			results = append(results, verdict.Result{Scenario: spec.LeafNodeText, Verdict: verdict.Broken,
				Reason: spec.FailureMessage()})
		}
	}
	if *junitFlag != "" {
		var junit bytes.Buffer
		Expect(report.JUnit(&junit, results)).To(Succeed())
		Expect(os.WriteFile(*junitFlag, junit.Bytes(), 0o644)).To(Succeed())
	}
	var table strings.Builder
	Expect(report.Table(&table, results)).To(Succeed())
	if *tableFlag == "" {
		fmt.Print("\n" + table.String())
		return
	}
	Expect(os.WriteFile(*tableFlag, []byte(table.String()), 0o644)).To(Succeed())
})

// verdictOf reads a result back from a report entry, which has travelled
// between processes as JSON.
func verdictOf(entry types.ReportEntry) (verdict.Result, bool) {
	if entry.Name != entryName {
		return verdict.Result{}, false
	}
	if result, ok := entry.GetRawValue().(verdict.Result); ok {
		return result, true
	}
	result, err := report.ParseJSON([]byte(entry.Value.AsJSON))
	return result, err == nil
}
