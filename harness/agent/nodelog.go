package agent

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/stressor/profile"
)

// tail reads a file that grows, line by line.
type tail struct {
	file *os.File // nil: there is none
	rest []byte
}

// openTail opens a file; fromEnd leaves out what is in it already.
func openTail(name string, fromEnd bool) *tail {
	if name == "" {
		return &tail{}
	}
	f, err := os.Open(name)
	if err != nil {
		return &tail{}
	}
	if fromEnd {
		f.Seek(0, io.SeekEnd) // a file that cannot seek is read from its start
	}
	return &tail{file: f}
}

// lines are the whole lines that were written since the last call.
func (t *tail) lines() []string {
	if t.file == nil {
		return nil
	}
	more, err := io.ReadAll(io.LimitReader(t.file, 1<<20))
	if err != nil && len(more) == 0 {
		return nil
	}
	t.rest = append(t.rest, more...)
	var out []string
	for {
		line, rest, ok := bytes.Cut(t.rest, []byte{'\n'})
		if !ok {
			return out
		}
		out, t.rest = append(out, string(line)), rest
	}
}

func (t *tail) close() {
	if t.file != nil {
		t.file.Close()
	}
}

// readLogs passes on what stressors report and what the kubelet says about
// memory.
func (w *podWatch) readLogs() {
	for pod, name := range w.req.Pods {
		// NAMESPACE_POD_UID/CONTAINER/RESTARTS.log
		files, _ := filepath.Glob(filepath.Join(w.n.o.PodLogs, w.req.Namespace+"_"+pod+"_*", "*", "*.log"))
		for _, file := range files {
			t := w.logs[file]
			if t == nil {
				if t = openTail(file, false); t.file == nil {
					continue
				}
				w.logs[file] = t
			}
			for _, line := range t.lines() {
				w.report(name+"/"+filepath.Base(filepath.Dir(file)), line)
			}
		}
	}
	for _, line := range w.kubelet.lines() {
		if aboutMemory(line) {
			w.emit(evidence.Event{Source: evidence.Kubelet, Kind: evidence.KubeletLine, Text: line})
		}
	}
}

// aboutMemory picks the kubelet's lines about kills and evictions. Not every
// pod of oomlab's is about one.
func aboutMemory(line string) bool {
	return memoryLine.MatchString(strings.ReplaceAll(line, "oomlab", ""))
}

var memoryLine = regexp.MustCompile(`(?i)oom|evict|memory.?pressure|threshold|killing container|exceed`)

// report takes a line of a container's log: when, where, whole or part, and
// what a stressor reported. What is no report is the container's own business.
func (w *podWatch) report(container, line string) {
	fields := strings.SplitN(line, " ", 4)
	if len(fields) < 4 || fields[1] != "stdout" || fields[2] != "F" {
		return
	}
	var r profile.Report
	if json.Unmarshal([]byte(fields[3]), &r) != nil || r.Event == "" {
		return
	}
	process := container
	for _, child := range w.req.Children {
		if child == container+"/"+r.Name {
			process = child
		}
	}
	e := evidence.Event{AtNS: r.MonoNS, Source: evidence.Stressor, Process: process, PID: w.pidOf(process)}
	switch r.Event {
	case profile.Ready:
		e.Kind = evidence.Ready
		e.Held = &evidence.Holding{Told: bytesOf(r.Held), Resident: bytesOf(r.Resident), Overhead: bytesOf(r.Overhead)}
	case profile.Stepped:
		e.Kind, e.N = evidence.Step, uint64(r.Step)
	case profile.Exited:
		e.Source, e.Kind = evidence.Wait, evidence.Exited
		e.Exit = &evidence.ExitStatus{Code: r.Code, Signal: r.Signal, By: container}
	case profile.Error:
		e.Source, e.Kind, e.Text = evidence.Agent, evidence.Failure, process+": "+r.Error
	default:
		return
	}
	w.emit(e)
}
