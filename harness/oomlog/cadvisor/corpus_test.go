package cadvisor

import (
	"bytes"
	"encoding/csv"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"k8s.io/klog/v2"

	"github.com/oomlab/oomlab/harness/oomlog"
)

func TestMain(m *testing.M) {
	// cAdvisor's parser complains of the end of a log, which it does not expect
	var flags flag.FlagSet
	klog.InitFlags(&flags)
	for _, arg := range []string{"-logtostderr=false", "-stderrthreshold=FATAL"} {
		if err := flags.Parse([]string{arg}); err != nil {
			panic(err)
		}
	}
	klog.SetOutput(io.Discard)
	os.Exit(m.Run())
}

// answer is what a parser says of a log: of its first report, and how many
// processes were killed.
type answer struct {
	victim, cgroup, constraint string
	kills                      int
}

func ours(t *testing.T, log []byte) (a answer) {
	for r, err := range oomlog.Reports(bytes.NewReader(log)) {
		if err != nil {
			t.Fatal(err)
		}
		killed := r.Killed()
		if a.victim == "" && len(killed) > 0 {
			a.victim, a.cgroup, a.constraint = strconv.Itoa(killed[0].PID), r.OOMMemcg, r.Constraint
		}
		a.kills += len(killed)
	}
	return a
}

// theirs takes the names as the kubelet does: a cgroup / is the machine.
func theirs(log []byte) (a answer) {
	for _, one := range cadvisor(log) {
		if one.Pid == 0 {
			continue
		}
		if a.victim == "" {
			a.victim, a.constraint = strconv.Itoa(one.Pid), one.Constraint
			if a.cgroup = one.VictimContainerName; a.cgroup == "/" {
				a.cgroup = ""
			}
		}
		a.kills++
	}
	return a
}

var killLine = regexp.MustCompile(`(?m:^|[ \t>\x{a0}])Killed process\s+(\d+)`)

// TestCorpus counts what both read right in logs with labels. The labels have
// one line for each log; of kills there are as many as processes that the log
// says were killed, each once.
func TestCorpus(t *testing.T) {
	dir := os.Getenv("OOMLAB_CORPUS")
	if dir == "" {
		t.Skip("OOMLAB_CORPUS is not set; it names a folder of real kernel logs with their labels")
	}
	f, err := os.Open(filepath.Join(dir, "labels.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tsv := csv.NewReader(f)
	tsv.Comma, tsv.LazyQuotes, tsv.FieldsPerRecord = '\t', true, -1
	rows, err := tsv.ReadAll()
	if err != nil || len(rows) < 2 {
		t.Fatalf("%d lines of labels, %v", len(rows), err)
	}
	type score struct{ victims, scopes, constraints, kills int }
	var all, our, their score
	for _, row := range rows[1:] {
		label := map[string]string{}
		for i, value := range row {
			label[rows[0][i]] = value
		}
		log, err := os.ReadFile(filepath.Join(dir, label["file"]))
		if err != nil {
			t.Fatal(err)
		}
		pids := map[string]bool{}
		for _, m := range killLine.FindAllSubmatch(log, -1) {
			pids[string(m[1])] = true
		}
		all.victims, all.scopes, all.kills = all.victims+1, all.scopes+1, all.kills+len(pids)
		if label["constraint"] != "-" {
			all.constraints++
		}
		scope := label["scope"]
		for _, side := range []struct {
			name string
			a    answer
			s    *score
		}{{"oomlab", ours(t, log), &our}, {"cadvisor", theirs(log), &their}} {
			a := side.a
			said := "global"
			if a.cgroup != "" {
				said = "memcg:" + a.cgroup
			}
			if a.victim == label["first_victim_pid"] {
				side.s.victims++
			}
			if said == scope {
				side.s.scopes++
			}
			if label["constraint"] != "-" && a.constraint == label["constraint"] {
				side.s.constraints++
			}
			side.s.kills += min(a.kills, len(pids))
			t.Logf("%-8s %s: victim %s, %s, %s, %d of %d kills", side.name, label["file"], a.victim, said,
				a.constraint, a.kills, len(pids))
		}
	}
	for _, line := range []struct {
		name string
		s    score
	}{{"oomlab", our}, {"cadvisor", their}} {
		t.Logf("%s: %d of %d victims, %d of %d limits, %d of %d constraints, %d of %d kills", line.name,
			line.s.victims, all.victims,
			line.s.scopes, all.scopes, line.s.constraints, all.constraints, line.s.kills, all.kills)
	}
	if our != all {
		t.Errorf("%+v, want all of %+v", our, all)
	}
}
