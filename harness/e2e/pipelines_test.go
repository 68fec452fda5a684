//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/xml"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"go.yaml.in/yaml/v3"
)

// What other people's pipelines include is run step by step, as their runners do: GitHub's
// with bash -eo pipefail and files for what a step says, GitLab's as one script.
var _ = Describe("pipelines", Label("pipelines"), func() {
	const one = "memcg/one-process-over-its-limit"
	var source, work string

	BeforeEach(func() {
		var err error
		source, err = filepath.Abs("../..")
		Expect(err).NotTo(HaveOccurred())
		work = GinkgoT().TempDir() // the checkout of those whose pipeline it is
	})

	// left is what a pipeline leaves: a page, and JUnit with so many cases and failures.
	left := func(cases, failures int) {
		GinkgoHelper()
		page, err := os.ReadFile(filepath.Join(work, "artifacts/oomlab.html"))
		Expect(err).NotTo(HaveOccurred())
		Expect(string(page)).To(ContainSubstring("<!DOCTYPE html>"))
		data, err := os.ReadFile(filepath.Join(work, "artifacts/oomlab.xml"))
		Expect(err).NotTo(HaveOccurred())
		var junit struct {
			Suites []struct {
				Tests    int `xml:"tests,attr"`
				Failures int `xml:"failures,attr"`
			} `xml:"testsuite"`
		}
		Expect(xml.Unmarshal(data, &junit)).To(Succeed())
		Expect(junit.Suites).To(HaveLen(1))
		Expect(junit.Suites[0].Tests).To(Equal(cases))
		Expect(junit.Suites[0].Failures).To(Equal(failures))
	}
	// inverted is a file with a scenario that expects what does not happen.
	inverted := func() string {
		GinkgoHelper()
		data, err := os.ReadFile(filepath.Join(source, "scenarios", one+".yaml"))
		Expect(err).NotTo(HaveOccurred())
		text := strings.Replace(string(data), "oom_kill: 1", "oom_kill: 2", 1)
		Expect(text).NotTo(Equal(string(data)))
		Expect(os.WriteFile(filepath.Join(work, "inverted.yaml"), []byte(text), 0o600)).To(Succeed())
		return "inverted.yaml"
	}

	Describe("GitHub", func() {
		action := func(ctx context.Context, inputs map[string]string) (status int, summary string) {
			GinkgoHelper()
			data, err := os.ReadFile(filepath.Join(source, ".ci/action/action.yml"))
			Expect(err).NotTo(HaveOccurred())
			var a struct {
				Inputs map[string]struct{ Default string }
				Runs   struct {
					Using string
					Steps []struct {
						Name, Shell, Run string
						Env              map[string]string
					}
				}
			}
			Expect(yaml.Unmarshal(data, &a)).To(Succeed())
			Expect(a.Runs.Using).To(Equal("composite"))
			file := filepath.Join(GinkgoT().TempDir(), "summary")
			path := filepath.Join(source, ".ci/action")
			expression := regexp.MustCompile(`\$\{\{ ([a-z._]+) \}\}`)
			evaluate := func(text string) string {
				return expression.ReplaceAllStringFunc(text, func(e string) string {
					name := expression.FindStringSubmatch(e)[1]
					if name == "github.action_path" {
						return path
					}
					input, ok := strings.CutPrefix(name, "inputs.")
					Expect(ok).To(BeTrue(), name)
					Expect(a.Inputs).To(HaveKey(input))
					if value, given := inputs[input]; given {
						return value
					}
					return a.Inputs[input].Default
				})
			}
			for _, step := range a.Runs.Steps {
				Expect(step.Shell).To(Equal("bash"))
				cmd := exec.CommandContext(ctx, "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c",
					evaluate(step.Run))
				cmd.Dir = work
				cmd.Env = append(os.Environ(), "GITHUB_ACTION_PATH="+path, "GITHUB_STEP_SUMMARY="+file)
				for _, name := range slices.Sorted(maps.Keys(step.Env)) {
					cmd.Env = append(cmd.Env, name+"="+evaluate(step.Env[name]))
				}
				out, err := cmd.CombinedOutput()
				GinkgoWriter.Printf("%s\n%s", step.Name, out)
				if err != nil {
					status = cmd.ProcessState.ExitCode()
					break
				}
			}
			text, err := os.ReadFile(file)
			Expect(err).NotTo(HaveOccurred())
			return status, string(text)
		}

		It("leaves a summary, JUnit and a page", func(ctx SpecContext) {
			status, summary := action(ctx, map[string]string{"scenarios": one + " memcg/bigger-of-two-dies"})
			Expect(status).To(BeZero())
			Expect(summary).To(ContainSubstring(one))
			Expect(summary).To(ContainSubstring("pass"))
			left(2, 0)
		}, SpecTimeout(10*time.Minute))

		It("fails with a scenario, and leaves the same", func(ctx SpecContext) {
			status, summary := action(ctx, map[string]string{"scenarios": inverted(), "args": "--quiet"})
			Expect(status).To(Equal(1))
			Expect(summary).To(ContainSubstring("fail"))
			left(1, 1)
		}, SpecTimeout(10*time.Minute))
	})

	It("GitLab: leaves JUnit and a page", func(ctx SpecContext) {
		data, err := os.ReadFile(filepath.Join(source, ".ci/gitlab/oomlab.yml"))
		Expect(err).NotTo(HaveOccurred())
		var jobs map[string]struct {
			Variables map[string]string
			Script    []string
			Artifacts struct {
				Paths   []string
				Reports map[string]string
			}
		}
		Expect(yaml.Unmarshal(data, &jobs)).To(Succeed())
		job := jobs["oomlab"]
		job.Variables["OOMLAB_SOURCE"], job.Variables["OOMLAB_SCENARIOS"] = "file://"+source, one
		branch, err := exec.CommandContext(ctx, "git", "-C", source, "rev-parse", "--abbrev-ref", "HEAD").Output()
		if err != nil {
			Skip("the source is no clone of a repository")
		}
		job.Variables["OOMLAB_REF"] = string(bytes.TrimSpace(branch))
		cmd := exec.CommandContext(ctx, "bash", "-eo", "pipefail", "-c", strings.Join(job.Script, "\n"))
		cmd.Dir = work
		cmd.Env = append(os.Environ(), "TMPDIR="+GinkgoT().TempDir())
		for name, value := range job.Variables {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		out, err := cmd.CombinedOutput()
		Expect(err).NotTo(HaveOccurred(), string(out))
		Expect(job.Artifacts.Reports["junit"]).To(Equal("artifacts/oomlab.xml"))
		left(1, 0)
	}, SpecTimeout(15*time.Minute))
})
