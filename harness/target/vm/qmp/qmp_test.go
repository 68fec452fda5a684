package qmp

import (
	"bufio"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fake is a QEMU that says, for each line it reads, what the script has next.
func fake(t *testing.T, greeting string, script ...string) *net.UnixConn {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		conn, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		ends[i] = conn.(*net.UnixConn)
	}
	go func() {
		defer ends[1].Close()
		ends[1].Write([]byte(greeting))
		r := bufio.NewReader(ends[1])
		for _, say := range script {
			if _, err := r.ReadBytes('\n'); err != nil {
				return
			}
			ends[1].Write([]byte(say))
		}
	}()
	t.Cleanup(func() { ends[0].Close() })
	return ends[0]
}

const (
	hello = `{"QMP": {"version": {}, "capabilities": []}}` + "\n"
	ok    = `{"return": {}}` + "\n"
)

func TestDo(t *testing.T) {
	m, err := Open(t.Context(), fake(t, hello, ok,
		// An event may come before the answer.
		`{"event": "STOP", "timestamp": {}}`+"\n"+ok,
		`{"error": {"class": "GenericError", "desc": "No file descriptor supplied via SCM_RIGHTS"}}`+"\n",
	))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Do(t.Context(), "stop", nil); err != nil {
		t.Error(err)
	}
	select {
	case e := <-m.Events():
		if e.Name != "STOP" {
			t.Errorf("event %s, want STOP", e.Name)
		}
	case <-time.After(10 * time.Second):
		t.Error("no event within 10 s")
	}
	err = m.Do(t.Context(), "getfd", map[string]any{"fdname": "state"})
	if err == nil ||
		!strings.Contains(err.Error(), "getfd: No file descriptor supplied via SCM_RIGHTS (GenericError)") {
		t.Errorf("error %v", err)
	}
	// The script is over: QEMU is gone.
	err = m.Do(t.Context(), "cont", nil)
	if err == nil || !strings.Contains(err.Error(), "cont") {
		t.Errorf("error %v", err)
	}
}

func TestDoWaitsNoLongerThanItMay(t *testing.T) {
	m, err := Open(t.Context(), fake(t, hello, ok, "", ""))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := m.Do(ctx, "migrate", nil); err == nil ||
		!strings.Contains(err.Error(), "waiting for the answer to migrate: context deadline exceeded") {
		t.Errorf("error %v", err)
	}
}

func TestMigrated(t *testing.T) {
	const setup = `{"event": "STOP"}` + "\n" + `{"event": "MIGRATION", "data": {"status": "setup"}}` + "\n"
	for _, test := range []struct{ said, want string }{
		{setup + `{"event": "MIGRATION", "data": {"status": "completed"}}` + "\n", ""},
		{setup + `{"event": "MIGRATION", "data": {"status": "failed"}}` + "\n", "the migration failed"},
		{setup, "waiting for the end of the migration: QEMU closed the monitor"},
		{setup + "garbage\n", `is not JSON`},
	} {
		m, err := Open(t.Context(), fake(t, hello, ok, ok+test.said))
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Do(t.Context(), "migrate", nil); err != nil {
			t.Fatal(err)
		}
		err = m.Migrated(t.Context())
		if test.want == "" && err != nil || test.want != "" &&
			(err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("after %q: error %v, want %q", test.said, err, test.want)
		}
	}
}

func TestOpenNeedsAGreeting(t *testing.T) {
	if _, err := Open(t.Context(), fake(t, "")); err == nil ||
		!strings.Contains(err.Error(), "waiting for the answer to greeting: QEMU closed") {
		t.Errorf("error %v", err)
	}
}

func TestFilesArriveWithTheCommand(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fds[1])
	f := os.NewFile(uintptr(fds[0]), "pair")
	conn, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	for range 2 { // the answers to qmp_capabilities and getfd
		if _, err := syscall.Write(fds[1], []byte(ok)); err != nil {
			t.Fatal(err)
		}
	}
	m := &Monitor{conn: conn.(*net.UnixConn), answers: make(chan answer), events: make(chan Event, maxEvents),
		gone: make(chan struct{})}
	go m.read()
	defer m.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := m.Do(t.Context(), "getfd", nil, file); err != nil {
		t.Fatal(err)
	}
	buf, oob := make([]byte, 100), make([]byte, 100)
	n, oobn, _, _, err := syscall.Recvmsg(fds[1], buf, oob, syscall.MSG_CMSG_CLOEXEC)
	if err != nil || !strings.Contains(string(buf[:n]), `"execute":"getfd"`) {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	messages, err := syscall.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d control messages, %v", len(messages), err)
	}
	got, err := syscall.ParseUnixRights(&messages[0])
	if err != nil || len(got) != 1 {
		t.Fatalf("descriptors %v, %v", got, err)
	}
	syscall.Close(got[0])
}
