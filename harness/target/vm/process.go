package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/oomlab/oomlab/harness/host"
	"github.com/oomlab/oomlab/harness/target/vm/qmp"
)

const (
	killWait = 5 * time.Second // from SIGKILL to QEMU's end
)

// greetWait is how long QEMU may take from its start to its monitor's greeting.
// Tests shorten it.
var greetWait = 20 * time.Second

// endedError means that QEMU exited before its monitor was ready, for example because
// of an unknown machine type, too little memory, or a file that it cannot open.
type endedError struct{ how, words string }

func (e *endedError) Error() string {
	if e.words == "" {
		return "QEMU exited at once without a message: " + e.how
	}
	return "QEMU: " + e.words + " (" + e.how + ")"
}

// process is one running QEMU.
type process struct {
	monitor *qmp.Monitor
	channel *net.UnixConn // the guest's second serial port
	port    int           // of loopback, that leads into the guest; 0: none

	cmd    *exec.Cmd
	stderr *tail
	done   chan struct{} // closed when QEMU has ended
	err    error         // how; set before done is closed
	killed sync.Once
}

// launch starts QEMU and opens its monitor. files are what fdState and the
// descriptors behind it refer to; each may be nil. QEMU lives until kill, or until
// it ends by itself, and never longer than ctx or this process.
func launch(ctx context.Context, argv []string, files ...*os.File) (*process, error) {
	monitor, monitorEnd, err := socketpair()
	if err != nil {
		return nil, err
	}
	channel, channelEnd, err := socketpair()
	if err != nil {
		return nil, errors.Join(err, monitor.Close(), monitorEnd.Close())
	}

	p := &process{channel: channel, done: make(chan struct{}), stderr: &tail{max: 4 << 10}}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.ExtraFiles = append([]*os.File{monitorEnd, channelEnd}, files...)
	p.cmd.Stderr = p.stderr
	p.cmd.WaitDelay = 2 * killWait        // for who else holds its standard error; kill says so before
	p.cmd.SysProcAttr = host.DiesWithUs() // Ctrl-C is ours to handle: it ends ctx
	started := make(chan error)
	go func() {
		// PR_SET_PDEATHSIG is about the thread that forked. This one is locked
		// and does nothing but wait, so it lives as long as QEMU or as long as
		// this process, whichever ends first.
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	err = <-started
	// QEMU has its own copies now. While ours are open, its exit does not close the
	// connection.
	closed := errors.Join(monitorEnd.Close(), channelEnd.Close())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", argv[0], err), closed, monitor.Close(), channel.Close())
	}
	stop := context.AfterFunc(ctx, func() { p.signal() })
	go func() {
		<-p.done
		stop()
	}()

	greeting, cancel := context.WithTimeoutCause(ctx, greetWait, fmt.Errorf("none within %v", greetWait))
	defer cancel()
	p.monitor, err = qmp.Open(greeting, monitor)
	if errors.Is(err, qmp.ErrEnded) && p.ended(killWait) {
		return nil, errors.Join(&endedError{p.cmd.ProcessState.String(), strings.TrimSpace(p.stderr.String())},
			channel.Close())
	}
	if err != nil {
		return nil, errors.Join(err, p.kill(), p.complaint())
	}
	return p, nil
}

// ended reports whether QEMU ends within that time.
func (p *process) ended(wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		return false
	}
}

// socketpair is a connected pair: one end for us, one for QEMU.
func socketpair() (*net.UnixConn, *os.File, error) {
	both, err := host.Streams("vm socket")
	if err != nil {
		return nil, nil, err
	}
	ours, theirs := both[0], both[1]
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("socketpair: %w", err), theirs.Close())
	}
	return conn.(*net.UnixConn), theirs, nil
}

// Cable is a cable between the links of two guests: each end is for one of them.
// What is sent while nobody is at the other end is lost or waits.
func Cable() (one, other *os.File, err error) {
	ends, err := host.Datagrams("cable")
	return ends[0], ends[1], err
}

func (p *process) signal() {
	p.killed.Do(func() {
		p.cmd.Process.Kill() // the only error is that it has ended already
	})
}

// kill ends QEMU and waits until it is gone. A QEMU that hangs in the kernel,
// as one may in /dev/kvm, cannot be ended; then the error says so, and it is
// left to the kernel.
func (p *process) kill() error {
	p.signal()
	var err error
	if !p.ended(killWait) {
		err = fmt.Errorf("QEMU (pid %d) did not end within %v of SIGKILL: it hangs in the host's kernel",
			p.cmd.Process.Pid, killWait)
	}
	if p.monitor != nil {
		p.monitor.Close()
	}
	p.channel.Close()
	return err
}

// complaint is what QEMU wrote to its standard error, as an error; nil when it
// wrote nothing.
func (p *process) complaint() error {
	if text := strings.TrimSpace(p.stderr.String()); text != "" {
		return fmt.Errorf("QEMU: %s", text)
	}
	return nil
}

// tail is a writer that keeps the last max bytes.
type tail struct {
	mu   sync.Mutex
	max  int
	data []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, b...)
	t.data = t.data[max(0, len(t.data)-t.max):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.data)
}
