package report

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/verdict"
)

// KCIDBOptions say whose report it is.
type KCIDBOptions struct {
	// Origin is the name of the CI system, as KCIDB knows it.
	Origin string
	// Build is the id of a build that the CI system reports itself; empty: the report has one
	// for each kernel, and its checkout.
	Build string
}

// KCIDBOrigin is the default of Origin.
const KCIDBOrigin = "oomlab"

var (
	kcidbOrigin = regexp.MustCompile(`^[a-z0-9_]+$`)
	kcidbID     = regexp.MustCompile(`^[a-z0-9_]+:[^\x00]+$`)
	kcidbNo     = regexp.MustCompile(`[^a-zA-Z0-9_-]`)
)

// Check says what is wrong with the options.
func (o KCIDBOptions) Check() error {
	switch {
	case !kcidbOrigin.MatchString(o.Origin):
		return fmt.Errorf("the origin %q is not of a-z, 0-9 and _", o.Origin)
	case o.Build != "" && !kcidbID.MatchString(o.Build):
		return fmt.Errorf("the build %q is no ORIGIN:ID", o.Build)
	}
	return nil
}

// The objects of KCIDB's schema v5, as far as they are written. A member that is not known
// is left out: none may be null.
type (
	kcidbReport struct {
		Version   kcidbVersion    `json:"version"`
		Checkouts []kcidbCheckout `json:"checkouts,omitempty"`
		Builds    []kcidbBuild    `json:"builds,omitempty"`
		Tests     []kcidbTest     `json:"tests"`
	}
	kcidbVersion struct {
		Major int `json:"major"`
		Minor int `json:"minor"`
	}
	kcidbCheckout struct {
		ID      string `json:"id"`
		Origin  string `json:"origin"`
		Comment string `json:"comment"`
	}
	kcidbBuild struct {
		CheckoutID string            `json:"checkout_id"`
		ID         string            `json:"id"`
		Origin     string            `json:"origin"`
		Comment    string            `json:"comment"`
		Status     string            `json:"status,omitempty"`
		Misc       map[string]string `json:"misc,omitempty"`
	}
	kcidbTest struct {
		BuildID     string           `json:"build_id"`
		ID          string           `json:"id"`
		Origin      string           `json:"origin"`
		Environment kcidbEnvironment `json:"environment"`
		Path        string           `json:"path"`
		Comment     string           `json:"comment"`
		LogExcerpt  string           `json:"log_excerpt"`
		Status      string           `json:"status"`
		StartTime   string           `json:"start_time,omitempty"`
		Duration    float64          `json:"duration"`
		Misc        kcidbMisc        `json:"misc"`
	}
	kcidbEnvironment struct {
		Comment string            `json:"comment"`
		Misc    map[string]string `json:"misc"`
	}
	kcidbMisc struct {
		Verdict verdict.Verdict `json:"verdict"`
		Reason  string          `json:"reason,omitempty"`
		Run     string          `json:"run,omitempty"`
		Seed    int64           `json:"seed"`
		Command []string        `json:"command,omitempty"`
	}
)

// kcidbStatus has what KCIDB calls a verdict. ERROR is a test that says nothing of the kernel.
var kcidbStatus = map[verdict.Verdict]string{verdict.Pass: "PASS", verdict.Fail: "FAIL", verdict.Broken: "ERROR",
	verdict.Skip: "SKIP"}

// maxExcerpt is how many characters of a log KCIDB takes.
const maxExcerpt = 16 << 10

// KCIDB writes runs as a report of KCIDB's schema 5.0, which later ones of version 5 take: a test
// for each run, on a build for each kernel. The same runs have the same ids.
func KCIDB(w io.Writer, all []verdict.Result, o KCIDBOptions) error {
	out := kcidbReport{Version: kcidbVersion{Major: 5}, Tests: []kcidbTest{}}
	known := map[string]bool{}
	for _, r := range all {
		build := o.Build
		if build == "" {
			build = o.id("build", r.Kernel.Release, r.Kernel.Version)
			if !known[build] {
				known[build] = true
				out.add(o, build, r.Kernel)
			}
		}
		t, err := o.test(r, build)
		if err != nil {
			return err
		}
		out.Tests = append(out.Tests, t)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	return enc.Encode(out)
}

// id is one of the origin's for what the parts name.
func (o KCIDBOptions) id(kind string, parts ...string) string {
	sum := sha256.Sum256([]byte(kind + "\x00" + strings.Join(parts, "\x00")))
	return o.Origin + ":oomlab-" + kind + "-" + hex.EncodeToString(sum[:12])
}

// add has a build of a kernel, and its checkout. That it was started shows that it was built.
func (k *kcidbReport) add(o KCIDBOptions, id string, kernel verdict.KernelID) {
	b := kcidbBuild{ID: id, Origin: o.Origin, CheckoutID: o.id("checkout", kernel.Release, kernel.Version),
		Comment: "Linux " + kernel.Release, Status: kcidbStatus[verdict.Pass],
		Misc: map[string]string{"release": kernel.Release}}
	if kernel.Version != "" {
		b.Misc["version"] = kernel.Version
	}
	if kernel.Release == "" {
		b.Comment, b.Status, b.Misc = "no kernel was started", "", nil
	}
	k.Builds = append(k.Builds, b)
	k.Checkouts = append(k.Checkouts, kcidbCheckout{ID: b.CheckoutID, Origin: o.Origin, Comment: b.Comment})
}

func (o KCIDBOptions) test(r verdict.Result, build string) (kcidbTest, error) {
	var said strings.Builder
	if red(r.Verdict) {
		said.WriteString(details(r) + "\n")
	}
	if err := Text(&said, r, Options{Verbose: red(r.Verdict)}); err != nil {
		return kcidbTest{}, err
	}
	t := kcidbTest{BuildID: build, Origin: o.Origin, Path: kcidbPath(r.Scenario),
		Comment:    plaintext.Escape(r.Summary),
		ID:         o.id("test", r.Run, r.Started, r.Scenario, r.Target, r.Kernel.Release, fmt.Sprint(r.Seed)),
		LogExcerpt: excerpt(plaintext.EscapeLines(said.String()), maxExcerpt), Status: kcidbStatus[r.Verdict],
		StartTime: r.Started, Duration: float64(r.DurationMS) / 1000,
		Misc: kcidbMisc{Verdict: r.Verdict, Reason: r.Reason, Run: r.Run, Seed: r.Seed, Command: r.Command}}
	t.Environment = kcidbEnvironment{Comment: "oomlab's target " + r.Target,
		Misc: map[string]string{"target": r.Target, "ebpf_tier": fmt.Sprint(r.Tier)}}
	if r.Userland != "" {
		t.Environment.Comment += " with " + r.Userland
		t.Environment.Misc["userland"] = r.Userland
	}
	return t, nil
}

// excerpt is the beginning of a text, in whole characters.
func excerpt(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	const cut = "\n[...]\n"
	return string([]rune(s)[:most-len(cut)]) + cut
}

// kcidbPath is a scenario's place in the tree of tests.
func kcidbPath(scenario string) string {
	path := "oomlab"
	for part := range strings.SplitSeq(scenario, "/") {
		if part != "" && part != "." && part != ".." {
			path += "." + kcidbNo.ReplaceAllString(part, "_")
		}
	}
	return path
}
