package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// evil sets a terminal's title, paints, reorders, hides, makes a line of its own, and
// is markup; the byte at its end is no UTF-8.
const evil = "\x1b]0;owned\a\x1b[41m\u009b31m\u202egnp\u2066\u200b\ufeff\r\nPASS  <img src=x>|`*\x7f\U000e0041"

// evilJSON is evil in JSON.
const evilJSON = `\u001b]0;owned\u0007\u001b[41m\u009b31m\u202egnp\u2066\u200b\ufeff\r\nPASS  <img src=x>|` + "`" +
	`*\u007f\udb40\udc41`

// evilRun copies a recorded run into dir with evil in whatever is a text of somebody
// else: kernel, process names, log lines, console.
func evilRun(t *testing.T, dir, recording string) {
	t.Helper()
	texts := regexp.MustCompile(`("(?:comm|release|version|reason|summary|because|console|text|message|detail|cgroup|` +
		`task_memcg|name|scenario|started|stderr|hint|line|lines)": ?")`)
	err := os.CopyFS(dir, os.DirFS(recording))
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(filepath.Ext(file), ".json") {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return os.WriteFile(file, texts.ReplaceAll(data, []byte("${1}"+evilJSON)), 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNothingHostileIsPrinted: whatever names, kernels, logs and people write, no
// command prints what a terminal obeys, what hides, or what is no UTF-8.
func TestNothingHostileIsPrinted(t *testing.T) {
	t.Setenv("OOMLAB_CACHE", t.TempDir())
	repository, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile("../../harness/oomlog/testdata/linux-6.18-memcg.log")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	write := func(name, text string) string {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	comm := strings.NewReplacer("\n", "", "\r", "").Replace(evil) + "\xff"
	hostileLog := write("h\u202e\xff.log", strings.ReplaceAll(string(log), "hog", comm[:40]))
	scenario := write("s\u202e\xff.yaml", "apiVersion: oomlab/v1alpha1\nsummary: \""+evilJSON+
		"\"\nprocesses: {\"b"+evilJSON+
		"\": {cgroup: \"/x"+evilJSON+"\"}}\nx"+strings.Trim(comm, "\a")+": 1\n")
	runs := "r\u202e\xff"
	for _, recording := range []string{"6.12/memcg-adj-outweighs-size", "6.12/memcg-oom-group-takes-all"} {
		dir := filepath.Join(runs, filepath.Base(recording))
		evilRun(t, dir, filepath.Join(repository, "harness/verdict/testdata", recording))
	}
	var all [][]string
	for _, format := range []string{"text", "json", "junit", "ktap", "kcidb", "markdown", "html"} {
		all = append(all, []string{"report", "--rejudge", "-o", format, runs}, []string{"report", "-o", format, runs})
	}
	for _, format := range []string{"text", "json", "markdown", "html"} {
		all = append(all, []string{"compare", "--rejudge", "-v", "-o", format, runs, runs})
	}
	all = append(all,
		[]string{"report", "--rejudge", "-v", runs}, []string{"report", "no" + evil[2:9] + "\u202e\xff"},
		[]string{"report", evil},
		[]string{"explain", "-v", hostileLog}, []string{"explain", "--list", hostileLog},
		[]string{"explain", "-o", "json", hostileLog}, []string{"explain", "\u202e\xff"},
		[]string{"reproduce", hostileLog},
		[]string{"reproduce", "--run", "--target", "vm", "--kernel", "\u202e\xff", hostileLog},
		[]string{"validate", scenario}, []string{"run", "--target", "vm", scenario}, []string{"run", "\u202e\xff/..."},
		[]string{"list", "\u202e\xff"}, []string{"selftest", runs}, []string{"\u202e\xff"},
		[]string{"run", "--\u202e\xff"},
		[]string{"run", "--target", "\u202e\xff", "x"},
		[]string{"run", "--junit", "\u202e\xff/x", "memcg/bigger-of-two-dies"},
		[]string{"kernels", "path", "./\u202e\xff"}, []string{"chaos", "--kernel", "\u202e\xff"},
		[]string{"run", "--kubeconfig", "\u202e\xff", "memcg/bigger-of-two-dies"},
		[]string{"compare", "--baseline", hostileLog, runs}, []string{"help", "\u202e\xff"},
	)
	shown := 0
	for _, args := range all {
		var out, errs bytes.Buffer
		code := run(t.Context(), args, strings.NewReader(""), &out, &errs)
		if out.Len()+errs.Len() == 0 {
			t.Errorf("%q: exit status %d and no word", args, code)
		}
		if strings.Contains(out.String()+errs.String(), `\x1b[41m`) {
			shown++
		}
		for _, text := range []string{out.String(), errs.String()} {
			if !utf8.ValidString(text) {
				t.Errorf("%q: no UTF-8", args)
			}
			for i, r := range text {
				if unicode.In(r, unicode.C, unicode.Zl, unicode.Zp) && r != '\n' && r != '\t' {
					t.Errorf("%q: %U in %q", args, r, text[max(0, i-60):min(len(text), i+20)])
					break
				}
			}
		}
		if slices.Contains(args, "html") && strings.Contains(out.String(), "<img") {
			t.Errorf("%q: markup of a name is markup of the page", args)
		}
		if strings.Contains(errs.String(), "\nPASS") || strings.HasPrefix(out.String(), "PASS  <img") {
			t.Errorf("%q: a name made a line: %s%s", args, out.String(), errs.String())
		}
	}
	if shown < 8 {
		t.Errorf("%d commands showed what is hostile; is it in their input?", shown)
	}
}
