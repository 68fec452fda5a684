package main

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/stressor/profile"
)

// outcome is how the run of a crowd went.
type outcome struct {
	killed   int // workers, by SIGKILL
	restarts int
	failed   string // why the run failed; empty: it did not
	ns       int64
}

// run starts the workers and returns when their time is up, or one of them has failed. A
// signal that ends this process ends them, too.
func (c crowd) run() int {
	if !c.json {
		complain(c.plan(), 0)
	}
	began := now()
	ends := make(chan workerEnd)
	workers := map[int]int{} // pid -> number
	var o outcome
	for i := range c.workers {
		if err := c.start(i, workers, ends); err != nil {
			o.failed = err.Error()
			break
		}
	}
	ticks := make(chan struct{})
	go func() {
		for {
			sleepUntil(now() + 1e9/4)
			ticks <- struct{}{}
		}
	}()
	shown := began
	for o.failed == "" && len(workers) > 0 {
		select {
		case e := <-ends:
			c.ended(e, workers, ends, &o)
			continue
		case <-ticks:
			if c.progress && now()-shown >= 1e9 {
				shown = now()
				complain(c.name+": "+c.held(workers, shown-began), 0)
			}
			if c.timeoutNS == 0 || now()-began < c.timeoutNS {
				continue
			}
		}
		break
	}
	for pid := range workers {
		unix.Kill(pid, unix.SIGKILL)
	}
	for range workers {
		<-ends
	}
	o.ns = now() - began
	return c.report(o)
}

// workerEnd is the end of a worker.
type workerEnd struct {
	pid    int
	status unix.WaitStatus
}

// start starts a worker, which dies with this process.
func (c crowd) start(i int, workers map[int]int, ends chan<- workerEnd) error {
	words := c.words()
	if c.timeoutNS > 0 { // should this process lose its senses
		words = append([]string{"deadline=" + strconv.FormatInt(c.timeoutNS/1e6+60_000, 10) + "ms"}, words...)
	}
	null, err := unix.Open(os.DevNull, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail("opening "+os.DevNull, err)
	}
	defer unix.Close(null)
	pid, err := syscall.ForkExec("/proc/self/exe", append([]string{"oomlab-stressor"}, words...), &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, uintptr(null)},
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return fail("starting a worker", err)
	}
	workers[pid] = i
	go func() {
		var s unix.WaitStatus
		retry(func() (int, error) { return unix.Wait4(pid, &s, 0, nil) })
		ends <- workerEnd{pid, s}
	}()
	if c.adj {
		if err := writeFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", "1000"); err != nil &&
			!errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// ended replaces a worker that was killed, or says why the run has failed.
func (c crowd) ended(e workerEnd, workers map[int]int, ends chan<- workerEnd, o *outcome) {
	i := workers[e.pid]
	delete(workers, e.pid)
	killed := e.status.Signaled() && e.status.Signal() == unix.SIGKILL
	if killed {
		o.killed++
	}
	who := "worker " + strconv.Itoa(i+1) + ", pid " + strconv.Itoa(e.pid) + ", "
	switch {
	case killed && c.restarts:
		o.restarts++
		if !c.json {
			complain(c.name+": "+who+"was killed, perhaps by the OOM killer; starting it again", 0)
		}
		if err := c.start(i, workers, ends); err != nil {
			o.failed = err.Error()
		}
	case e.status.Signaled():
		o.failed = who + "got signal " + strconv.Itoa(int(e.status.Signal()))
	default:
		o.failed = who + "ended with status " + strconv.Itoa(e.status.ExitStatus())
	}
}

// held says how much is resident by now.
func (c crowd) held(workers map[int]int, ns int64) string {
	var sum int64
	for pid := range workers {
		text, err := readFile("/proc/" + strconv.Itoa(pid) + "/statm")
		if fields := strings.Fields(string(text)); err == nil && len(fields) > 1 {
			pages, _ := strconv.ParseInt(fields[1], 10, 64)
			sum += pages * pageSize
		}
	}
	return seconds(ns) + ": " + strconv.Itoa(len(workers)) + " workers, " + profile.Quantity(sum) + " resident of " +
		profile.Quantity(c.bytes*int64(c.workers))
}

// report says how it went, as these programs do, and returns the exit status.
func (c crowd) report(o outcome) int {
	code := 0
	if o.failed != "" {
		code = 1
	}
	if c.json {
		say(`{"program":` + strconv.Quote(c.name) + `,"workers":` + strconv.Itoa(c.workers) +
			`,"bytes_each":` + strconv.FormatInt(c.bytes, 10) + `,"killed":` + strconv.Itoa(o.killed) +
			`,"restarts":` + strconv.Itoa(o.restarts) + `,"seconds":` + strings.TrimSuffix(seconds(o.ns), "s") +
			`,"failed":` + strconv.Quote(o.failed) + `}`)
		return code
	}
	if o.failed != "" {
		complain(c.name+": "+o.failed, 0)
		return complain(c.name+": failed run completed in "+seconds(o.ns), code)
	}
	text := c.name + ": successful run completed in " + seconds(o.ns)
	if o.restarts > 0 {
		text += ", " + strconv.Itoa(o.restarts) + " workers were killed and started again"
	}
	return complain(text, code)
}
