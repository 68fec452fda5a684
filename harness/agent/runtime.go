package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
)

// subscribe reads the runtime's events as long as the agent lives.
func (n *node) subscribe(ctx context.Context) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, n.o.Events[0], n.o.Events[1:]...)
	cmd.Stdout = w
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// PR_SET_PDEATHSIG is about the thread that forked: this one does nothing
		// but wait, and lives as long as the command or the agent.
		runtime.LockOSThread()
		err := cmd.Start()
		w.Close()
		started <- err
		if err == nil {
			err = cmd.Wait()
			n.mu.Lock()
			n.lost = fmt.Sprintf("%s ended: %v", n.o.Events[0], err)
			n.mu.Unlock()
		}
	}()
	if err := <-started; err != nil {
		r.Close()
		return err
	}
	go func() {
		defer r.Close()
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 1<<20)
		lines.Split(wire.ScanLines)
		for lines.Scan() {
			n.mu.Lock()
			w := n.watch
			n.mu.Unlock()
			if w != nil {
				w.runtimeEvent(lines.Text())
			}
		}
	}()
	return nil
}

// deliver hands the runtime's events to w from now on; nil: to nobody. It returns
// why there are no more of them; empty: there are.
func (n *node) deliver(w *podWatch) (lost string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.watch = w
	return n.lost
}

// runtimeEvent takes a line of containerd's events: when, namespace, topic, and
// the event as JSON.
func (w *podWatch) runtimeEvent(line string) {
	i := strings.Index(line, " /tasks/")
	if i < 0 {
		return
	}
	topic, text, ok := strings.Cut(line[i+1:], " ")
	if !ok {
		return
	}
	var task struct {
		ContainerID string `json:"container_id"`
		ID          string `json:"id"`
		PID         int    `json:"pid"`
		ExitStatus  int    `json:"exit_status"`
	}
	if json.Unmarshal([]byte(text), &task) != nil {
		return
	}
	// Whatever it is, there is something to be seen.
	defer w.wake()
	w.seen.Lock()
	defer w.seen.Unlock()
	c := w.byID[task.ContainerID]
	if topic == "/tasks/start" {
		w.started[task.ContainerID] = task.PID
		if c != nil {
			c.first, c.began = task.PID, true
		}
	}
	if c == nil || c.sandbox() {
		return // a sandbox is killed when its pod is over, and by nobody's fault
	}
	e := evidence.Event{Source: evidence.Runtime, Process: c.process, Text: task.ContainerID}
	switch topic {
	case "/tasks/oom":
		e.Kind = evidence.TaskOOM
	case "/tasks/exit":
		if task.ID != task.ContainerID {
			return // a command beside the container's own
		}
		w.tellOnce(c) // who has ended was there before
		e.Kind, e.PID, e.Exit = evidence.TaskEnded, task.PID,
			&evidence.ExitStatus{Code: task.ExitStatus, By: "containerd"}
	default:
		return
	}
	w.emit(e)
}
