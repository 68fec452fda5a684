package observe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/evidence"
)

func TestKmsgLog(t *testing.T) {
	type read struct {
		text string
		err  error
	}
	record := func(seq uint64) evidence.Event {
		return evidence.Event{AtNS: 5000, Source: evidence.Kmsg, Kind: evidence.Record,
			Log: &evidence.LogRecord{Priority: 3, Seq: seq, USec: 5, Text: "x\ny"}}
	}
	lost := func(at int64, n uint64, text string) evidence.Event {
		return evidence.Event{AtNS: at, Source: evidence.Kmsg, Kind: evidence.Lost, N: n, Text: text}
	}
	line := func(seq int) read { return read{text: fmt.Sprintf("3,%d,5,-;x\\x0ay\n", seq)} }
	for _, test := range []struct {
		name  string
		reads []read
		want  []evidence.Event
	}{
		{name: "in order", reads: []read{line(7), line(8)}, want: []evidence.Event{record(7), record(8)}},
		{name: "user space says so", reads: []read{{text: "12,7,5,-,caller=T9;Out of memory: Killed process 1\n"}},
			want: []evidence.Event{
				{AtNS: 5000, Source: evidence.Kmsg, Kind: evidence.Record, Log: &evidence.LogRecord{Priority: 4,
					Facility: 1, Seq: 7, USec: 5, Caller: "T9", Text: "Out of memory: Killed process 1"}},
			}},
		{name: "overwritten", reads: []read{line(7), {err: unix.EPIPE}, line(12)}, want: []evidence.Event{
			record(7), lost(5000, 4, "records 8 to 11 were overwritten before they were read"), record(12),
		}},
		{name: "gap without EPIPE", reads: []read{line(7), line(9)}, want: []evidence.Event{
			record(7), lost(5000, 1, "records 8 to 8 were overwritten before they were read"), record(9),
		}},
		{name: "overwritten before the first", reads: []read{{err: unix.EPIPE}, line(7)}, want: []evidence.Event{
			lost(5000, 1, "records before 7 were overwritten before they were read; at least one"), record(7),
		}},
		{name: "the device fails", reads: []read{{err: unix.EIO}}, want: []evidence.Event{
			lost(0, 1, "the log ends here: input/output error"),
		}},
		{name: "not a record", reads: []read{{text: "hello"}}, want: []evidence.Event{
			lost(0, 1, `kmsg: "hello": no semicolon after the header; want prio,seq,usec,flag;text`),
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log kmsgLog
			var got []evidence.Event
			for _, r := range test.reads {
				got = append(got, log.next([]byte(r.text), r.err)...)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

func openKmsg(t *testing.T) *Kmsg {
	t.Helper()
	k, err := OpenKmsg(kmsgPath)
	if err != nil {
		t.Skipf("needs the kernel log: %v", err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// say writes one line to the kernel log, as user space can. Without the
// newline the kernel would keep the record back until the next one, because it
// might be continued.
func say(t *testing.T, line string) {
	t.Helper()
	if err := os.WriteFile(kmsgPath, []byte(line+"\n"), 0); err != nil {
		t.Skipf("needs to write %s: %v", kmsgPath, err)
	}
}

func said(r *record, text string) int {
	n := 0
	for _, e := range r.of(evidence.Record) {
		if strings.Contains(e.Log.Text, text) {
			n++
		}
	}
	return n
}

// TestGuestKmsg wants exactly what is logged between Start and Stop.
func TestGuestKmsg(t *testing.T) {
	mark := fmt.Sprintf("oomlab test %d", time.Now().UnixNano())
	k := openKmsg(t)
	say(t, mark+" before")
	var first, second record
	if err := k.Start(first.sink); err != nil {
		t.Fatal(err)
	}
	say(t, mark+" between")
	drain(t, k)
	if said(&first, mark) != 1 || said(&first, mark+" between") != 1 {
		t.Errorf("between Start and Drain: %+v", first.texts())
	}
	k.Stop()
	say(t, mark+" after")
	if err := k.Start(second.sink); err != nil {
		t.Fatal(err)
	}
	say(t, mark+" again")
	drain(t, k)
	if said(&first, mark) != 1 || said(&second, mark) != 1 || said(&second, mark+" again") != 1 {
		t.Errorf("first %q, second %q", first.texts(), second.texts())
	}
	if e := second.of(evidence.Record)[0]; e.Log.Facility == 0 {
		t.Errorf("a line of user space passes for the kernel's: %+v", e.Log)
	}
	if n := len(first.of(evidence.Lost)) + len(second.of(evidence.Lost)); n != 0 {
		t.Errorf("%d times something was lost", n)
	}
}

// TestGuestKmsgKill wants the kernel's line about a kill to be there after
// Drain, without any waiting.
func TestGuestKmsgKill(t *testing.T) {
	k := openKmsg(t)
	dir, _ := memcg(t, 32<<20)
	var seen record
	if err := k.Start(seen.sink); err != nil {
		t.Fatal(err)
	}
	h := start(t, dir, 0)
	h.killed(t)
	drain(t, k)
	if n := said(&seen, fmt.Sprintf("Memory cgroup out of memory: Killed process %d (exe)", h.pid)); n != 1 {
		t.Errorf("%d lines about the kill of %d", n, h.pid)
	}
}

func TestKmsgDrainGivesUp(t *testing.T) {
	k := openKmsg(t)
	block := make(chan struct{})
	entered := make(chan struct{}, 1000)
	if err := k.Start(func(evidence.Event) { entered <- struct{}{}; <-block }); err != nil {
		t.Fatal(err)
	}
	say(t, "oomlab test of a sink that hangs")
	<-entered
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	err := k.Drain(ctx)
	close(block)
	if want := "kernel log /dev/kmsg: waiting for its last record to be read: enough"; err == nil ||
		err.Error() != want {
		t.Errorf("error %v; want %q", err, want)
	}
}

func TestOpenKmsgRefuses(t *testing.T) {
	_, err := OpenKmsg(filepath.Join(t.TempDir(), "kmsg"))
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "it needs root or CAP_SYSLOG") {
		t.Errorf("error %v", err)
	}
}

// texts is what the records say.
func (r *record) texts() []string {
	var out []string
	for _, e := range r.of(evidence.Record) {
		out = append(out, e.Log.Text)
	}
	return out
}

// TestGuestLogAhead: what is said by how much the log's clock is ahead is what a line of the
// log has that is written now.
func TestGuestLogAhead(t *testing.T) {
	k := openKmsg(t)
	ahead, took, err := logAhead(kmsgPath)
	if errors.Is(err, fs.ErrPermission) {
		t.Skipf("needs to write %s: %v", kmsgPath, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	mark := fmt.Sprintf("oomlab test %d", time.Now().UnixNano())
	r := &record{}
	if err := k.Start(r.sink); err != nil {
		t.Fatal(err)
	}
	before := monotonic()
	say(t, mark)
	after := monotonic()
	if err := k.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	k.Stop()
	for _, e := range r.of(evidence.Record) {
		if !strings.Contains(e.Log.Text, mark) {
			continue
		}
		slack := (took + time.Millisecond).Nanoseconds()
		if at := e.AtNS - ahead.Nanoseconds(); at < before-slack || at > after+slack {
			t.Errorf("ahead by %v: a line of %d to %d ns has %d in the log", ahead, before, after, e.AtNS)
		}
		return
	}
	t.Error("the line is not in the log")
}
