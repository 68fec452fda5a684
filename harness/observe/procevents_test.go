package observe

import (
	"encoding/binary"
	"os/exec"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// datagram is what the connector sends: struct nlmsghdr, struct cn_msg, struct proc_event.
func datagram(seq, cpu uint32, what ProcWhat, data ...uint32) []byte {
	o := binary.NativeEndian
	b := make([]byte, unix.NLMSG_HDRLEN+cnHeader+procEventBase)
	cn := b[unix.NLMSG_HDRLEN:]
	o.PutUint32(cn[0:], cnIdxProc)
	o.PutUint32(cn[4:], cnValProc)
	o.PutUint32(cn[8:], seq)
	o.PutUint32(cn[cnHeader:], uint32(what))
	o.PutUint32(cn[cnHeader+4:], cpu)
	o.PutUint64(cn[cnHeader+8:], uint64(seq)*1000)
	for _, word := range data {
		b = o.AppendUint32(b, word)
	}
	o.PutUint32(b, uint32(len(b)))
	return b
}

// TestProcMessages: what the kernel sends is read, and what is cut off is not.
func TestProcMessages(t *testing.T) {
	comm := []byte("postgres\x00\x00\x00\x00\x00\x00\x00\x00")
	words := []uint32{7, 7}
	for i := 0; i < len(comm); i += 4 {
		words = append(words, binary.NativeEndian.Uint32(comm[i:]))
	}
	for _, tt := range []struct {
		name string
		in   []byte
		want []ProcEvent
	}{
		{"fork", datagram(1, 0, ProcForked, 5, 4, 7, 7),
			[]ProcEvent{{What: ProcForked, PID: 7, TGID: 7, Parent: 4, AtNS: 1000}}},
		{"exec", datagram(1, 0, ProcExecuted, 8, 7), []ProcEvent{{What: ProcExecuted, PID: 8, TGID: 7, AtNS: 1000}}},
		{"comm", datagram(1, 0, ProcRenamed, words...),
			[]ProcEvent{{What: ProcRenamed, PID: 7, TGID: 7, Comm: "postgres", AtNS: 1000}}},
		{"exit", datagram(1, 0, ProcExited, 7, 7, 9, 17),
			[]ProcEvent{{What: ProcExited, PID: 7, TGID: 7, Status: 9, AtNS: 1000}}},
		{"two of them", append(datagram(1, 0, ProcExecuted, 7, 7), datagram(2, 0, ProcExited, 7, 7, 0, 17)...),
			[]ProcEvent{{What: ProcExecuted, PID: 7, TGID: 7, AtNS: 1000},
				{What: ProcExited, PID: 7, TGID: 7, AtNS: 2000}}},
		{"cut off", datagram(1, 0, ProcForked, 5, 4, 7), nil},
		{"cut off before its length", datagram(1, 0, ProcForked, 5, 4, 7, 7)[:40], nil},
		{"nothing", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []ProcEvent
			for _, m := range parseProcMessages(tt.in) {
				got = append(got, m.event)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestProcEventsMissing: what the kernel could not send is counted, by CPU.
func TestProcEventsMissing(t *testing.T) {
	var lost uint64
	got := 0
	p := &ProcEvents{next: map[uint32]uint32{}, sink: func(ProcEvent) { got++ },
		lost: func(n uint64, _ string) { lost += n }}
	for _, b := range [][]byte{
		datagram(10, 0, ProcExecuted, 7, 7), datagram(4, 1, ProcExecuted, 7, 7), datagram(11, 0, ProcExecuted, 7, 7),
		datagram(14, 0, ProcExecuted, 7, 7), datagram(5, 1, 0x4, 7, 7), datagram(6, 1, ProcExecuted, 7, 7),
	} {
		for _, m := range parseProcMessages(b) {
			p.deliver(m)
		}
	}
	if lost != 2 || got != 5 {
		t.Errorf("%d lost, %d delivered; want 2 and 5: event 12 and 13 of CPU 0", lost, got)
	}
}

// TestProcEventsOfAShell: on a machine that tells, a shell's children are told with their
// ends, and all of them by Drain.
func TestProcEventsOfAShell(t *testing.T) {
	var mu sync.Mutex
	var all []ProcEvent
	p, err := OpenProcEvents(func(e ProcEvent) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, e)
	}, func(n uint64, why string) { t.Errorf("%d lost: %s", n, why) })
	if err != nil {
		t.Skip(err)
	}
	defer p.Close()
	shell := exec.Command("sh", "-c", "(exit 3); (kill -9 $(exec sh -c 'echo $PPID')); true")
	if err := shell.Run(); err != nil {
		t.Fatal(err)
	}
	p.Drain()
	mu.Lock()
	defer mu.Unlock()
	children := map[int]bool{}
	var ends []uint32
	for _, e := range all {
		switch {
		case e.What == ProcForked && e.Parent == shell.Process.Pid && e.PID == e.TGID:
			children[e.TGID] = true
		case e.What == ProcExited && children[e.TGID]:
			ends = append(ends, e.Status)
		}
	}
	if !slices.Equal(ends, []uint32{3 << 8, uint32(unix.SIGKILL)}) {
		t.Errorf("the shell's children ended with %#x; want exit code 3 and SIGKILL", ends)
	}
}
