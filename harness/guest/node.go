package guest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/agent"
	"github.com/oomlab/oomlab/harness/agent/wire"
)

// A node's machine.
const (
	nodeDisk = "/dev/vda"
	nodeRoot = "/oomlab/root" // where the disk is mounted first
	nodeCard = "eth0"
	linkCard = "eth1" // to another node
	logDir   = "/var/log"
	swapFile = "/swap"
)

// diskWait is for the disk or a card to appear after its driver was loaded.
const diskWait = 20 * time.Second

// pollEvery is how often something is looked at that tells of no change.
const pollEvery = 200 * time.Millisecond

// node is PID 1 of a node's machine. It starts the daemons and the agent, which
// is a process of its own here, and reaps whatever is orphaned.
type node struct {
	mu      sync.Mutex
	awaited map[int]chan syscall.WaitStatus
	born    chan struct{} // a child was started
}

// readBoot reads what a node is booted with.
func readBoot() (wire.Boot, error) {
	var b wire.Boot
	data, err := os.ReadFile(wire.BootFile)
	if err != nil {
		return b, err
	}
	if err := json.Unmarshal(data, &b); err != nil {
		return b, fmt.Errorf("%s: %w", wire.BootFile, err)
	}
	return b, nil
}

// bootNode makes a node of a machine and serves until the agent ends.
func bootNode(channel string) error {
	b, err := readBoot()
	if err != nil {
		return err
	}
	if err := enterDisk(); err != nil {
		return err
	}
	if err := mountAllOfCgroupV2(); err != nil {
		return err
	}
	warn(unix.Sethostname([]byte(b.Hostname)))
	if err := network(b); err != nil {
		return err
	}
	for file, value := range map[string]string{
		"/proc/sys/net/ipv4/ip_forward": "1", "/proc/sys/vm/overcommit_memory": "1",
		// Reports of OOM kills, some hundred lines each, are in the kernel log; a
		// serial line would hold up the kill for their length.
		"/proc/sys/kernel/printk": "1",
	} {
		warn(os.WriteFile(file, []byte(value), 0))
	}
	if b.Swap > 0 {
		if err := agent.SwapOn(swapFile, b.Swap); err != nil {
			return err
		}
	}
	n := newNode()
	if b.Container != "" {
		return n.contain(b, channel)
	}
	return n.up(b, channel, "")
}

func newNode() *node {
	n := &node{awaited: map[int]chan syscall.WaitStatus{}, born: make(chan struct{}, 1)}
	go n.reap()
	return n
}

// up starts the daemons and, in a cgroup if one is given, the agent. It returns when
// that ends.
func (n *node) up(b wire.Boot, channel, agentCgroup string) error {
	if err := protect(b, systemSlice); err != nil {
		return err
	}
	begin := time.Now()
	for _, s := range b.Steps {
		if err := n.step(s); err != nil {
			return fmt.Errorf("step %s after %.1f s: %w%s", s.Name, time.Since(begin).Seconds(), err,
				lastOfLogs(logDir))
		}
		fmt.Fprintf(os.Stderr, "oomlab-agent: %6.1f s %s\n", time.Since(begin).Seconds(), s.Name)
	}
	_, ended, err := n.start([]string{"/proc/self/exe", "channel", channel}, agentCgroup, nil, 0)
	if err != nil {
		return err
	}
	status := <-ended
	return fmt.Errorf("the agent ended with status %d, signal %d", status.ExitStatus(), status.Signal())
}

// enterDisk makes the disk the root. What the initramfs has below /oomlab stays.
func enterDisk() error {
	if err := await(diskWait, func() error { _, err := os.Stat(nodeDisk); return err }); err != nil {
		return err
	}
	if err := (mount{nodeDisk, nodeRoot, "ext4", ""}).mount(); err != nil {
		return err
	}
	keep := filepath.Join(nodeRoot, "oomlab")
	if err := os.MkdirAll(keep, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("/oomlab", keep, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind /oomlab: %w", err)
	}
	for _, dir := range []string{"/proc", "/sys", "/dev", "/run", "/tmp"} {
		if err := os.MkdirAll(nodeRoot+dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(dir, nodeRoot+dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", dir, err)
		}
	}
	// As switch_root(8) does.
	err := errors.Join(unix.Chdir(nodeRoot), unix.Mount(".", "/", "", unix.MS_MOVE, ""),
		unix.Chroot("."), unix.Chdir("/"))
	if err != nil {
		return fmt.Errorf("switch to the disk: %w", err)
	}
	// The kubelet's mounts have to reach its containers.
	return unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, "")
}

// Cgroups of a node.
const (
	cgroupRoot  = "/sys/fs/cgroup"
	systemSlice = cgroupRoot + "/system.slice"
)

// mountAllOfCgroupV2 hands every controller on, below system.slice too, and lets
// the daemons share what that keeps, as systemd does. The kubelet insists on the
// controllers; and it takes a node for one without swap limits, and sets none, where
// its own cgroup has no memory.swap.max (checkSwapControllerAvailability() of
// pkg/kubelet/kuberuntime).
func mountAllOfCgroupV2() error {
	if err := (mount{"cgroup2", cgroupRoot, "cgroup2", "memory_recursiveprot"}).mount(); err != nil {
		return err
	}
	return handOn(cgroupRoot, systemSlice)
}

// handOn makes cgroups and hands every controller on that they have.
func handOn(dirs ...string) error {
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		names, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
		if err != nil {
			return err
		}
		for _, name := range strings.Fields(string(names)) {
			warn(os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+name), 0))
		}
	}
	return nil
}

// protect sets what the daemons keep, in their cgroup and in those above it.
func protect(b wire.Boot, dirs ...string) error {
	for _, dir := range dirs {
		if b.Protected == 0 {
			break
		}
		if err := os.WriteFile(filepath.Join(dir, "memory.min"), fmt.Append(nil, b.Protected), 0); err != nil {
			return err
		}
	}
	return nil
}

// network sets up loopback and the cards, with the ioctls of netdevice(7) and
// rtable: it is the same three calls on every kernel.
func network(b wire.Boot) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, card := range []struct{ name, address string }{{"lo", ""}, {nodeCard, b.Address}, {linkCard, b.Link}} {
		if card.name != "lo" && card.address == "" {
			continue
		}
		if err := setUp(fd, card.name, card.address); err != nil {
			return fmt.Errorf("%s: %w", card.name, err)
		}
	}
	return defaultRoute(fd, net.ParseIP(b.Gateway).To4())
}

// setUp gives a card its address, if there is one, and switches it on.
func setUp(fd int, card, address string) error {
	if err := await(diskWait, func() error { _, err := os.Stat("/sys/class/net/" + card); return err }); err != nil {
		return err
	}
	if address != "" {
		ip, net4, err := net.ParseCIDR(address)
		if err != nil {
			return err
		}
		for _, set := range []struct {
			request uint
			ip      net.IP
		}{{unix.SIOCSIFADDR, ip}, {unix.SIOCSIFNETMASK, net.IP(net4.Mask)}} {
			r, err := unix.NewIfreq(card)
			if err == nil {
				err = r.SetInet4Addr(set.ip.To4())
			}
			if err == nil {
				err = unix.IoctlIfreq(fd, set.request, r)
			}
			if err != nil {
				return fmt.Errorf("address %s: %w", address, err)
			}
		}
	}
	r, err := unix.NewIfreq(card)
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
		return fmt.Errorf("up: %w", err)
	}
	return nil
}

// defaultRoute is SIOCADDRT with struct rtentry of include/uapi/linux/route.h.
func defaultRoute(fd int, gateway net.IP) error {
	if gateway == nil {
		return errors.New("the gateway is no IPv4 address")
	}
	type sockaddr struct {
		family uint16
		port   uint16
		addr   [4]byte
		_      [8]byte
	}
	entry := struct {
		_                         uint64
		dst, via, mask            sockaddr
		flags                     uint16
		_                         int16
		_                         uint64
		_, _                      uint64 // tos, class and what aligns them; the metric
		dev                       uintptr
		mtu, window, irtt, unused uint64
	}{flags: unix.RTF_UP | unix.RTF_GATEWAY}
	entry.dst.family, entry.mask.family, entry.via.family = unix.AF_INET, unix.AF_INET, unix.AF_INET
	binary.NativeEndian.PutUint32(entry.via.addr[:], binary.NativeEndian.Uint32(gateway))
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCADDRT, uintptr(unsafe.Pointer(&entry)))
	if errno != 0 {
		return fmt.Errorf("default route: %w", errno)
	}
	return nil
}

func (n *node) step(s wire.BootStep) error {
	within := time.Duration(s.WithinMS) * time.Millisecond
	switch {
	case len(s.Daemon) > 0:
		return n.daemon(s)
	case len(s.Run) > 0:
		return n.run(s, within)
	case s.Socket != "":
		return await(within, func() error {
			c, err := net.Dial("unix", s.Socket)
			if err == nil {
				err = c.Close()
			}
			return err
		})
	case s.Request != nil:
		return request(*s.Request, within)
	}
	return errors.New("nothing is to be done")
}

// start starts a program, in new namespaces if it is told some CLONE_ flags. Its end
// is announced once.
func (n *node) start(
	argv []string, cgroup string, out *os.File, namespaces uintptr,
) (pid int, ended <-chan syscall.WaitStatus, err error) {
	attr := &syscall.ProcAttr{
		Dir: "/", Env: append(os.Environ(), "HOME=/root"),
		Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setsid: true, Cloneflags: namespaces},
	}
	if out != nil {
		attr.Files = []uintptr{0, out.Fd(), out.Fd()}
	}
	if cgroup != "" {
		dir, err := os.Open(cgroup)
		if err != nil {
			return 0, nil, err
		}
		defer dir.Close()
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(dir.Fd())
	}
	// The reaper may see the end before anybody waits for it.
	n.mu.Lock()
	defer n.mu.Unlock()
	pid, err = syscall.ForkExec(argv[0], argv, attr)
	if err != nil {
		return 0, nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	c := make(chan syscall.WaitStatus, 1)
	n.awaited[pid] = c
	select {
	case n.born <- struct{}{}:
	default:
	}
	return pid, c, nil
}

// reap waits for every child, its own and those that others left to PID 1. It
// never returns.
func (n *node) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.ECHILD) {
			<-n.born
		}
		if err != nil {
			continue
		}
		n.mu.Lock()
		c := n.awaited[pid]
		delete(n.awaited, pid)
		n.mu.Unlock()
		if c != nil {
			c <- status
		}
	}
}

// mostStarts is how often a daemon is started until it is given up.
const mostStarts = 5

// daemon starts a daemon, and starts it again when it ends.
func (n *node) daemon(s wire.BootStep) error {
	cgroup := systemSlice + "/" + s.Name + ".service"
	if err := os.MkdirAll(cgroup, 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(logDir, s.Name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	again := func() (<-chan syscall.WaitStatus, error) {
		pid, ended, err := n.start(s.Daemon, cgroup, log, 0)
		if err != nil {
			return nil, err
		}
		return ended, os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), fmt.Append(nil, s.Adj), 0)
	}
	ended, err := again()
	if err != nil {
		return err
	}
	go func() {
		for starts := 1; ; starts++ {
			status := <-ended
			fmt.Fprintf(os.Stderr, "oomlab-agent: %s ended: status %d, signal %d\n",
				s.Name, status.ExitStatus(), status.Signal())
			if starts == mostStarts {
				return
			}
			if ended, err = again(); err != nil {
				fmt.Fprintln(os.Stderr, "oomlab-agent:", err)
				return
			}
		}
	}()
	return nil
}

func (n *node) run(s wire.BootStep, within time.Duration) error {
	log, err := os.Create(filepath.Join(logDir, s.Name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	pid, ended, err := n.start(s.Run, "", log, 0)
	if err != nil {
		return err
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case status := <-ended:
		if status.ExitStatus() != 0 {
			return fmt.Errorf("%s: exit status %d", strings.Join(s.Run, " "), status.ExitStatus())
		}
		return nil
	case <-timer.C:
		return errors.Join(fmt.Errorf("not done within %s", within), unix.Kill(pid, unix.SIGKILL))
	}
}

// request sends a request until it is answered as wanted.
func request(r wire.BootRequest, within time.Duration) error {
	ca, err := os.ReadFile(r.CA)
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(r.Cert, r.Key)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return fmt.Errorf("%s holds no certificate", r.CA)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Timeout: 20 * time.Second, Transport: transport}
	return await(within, func() error {
		req, err := http.NewRequestWithContext(context.Background(), r.Method, r.URL, strings.NewReader(r.Body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		answer, err := client.Do(req)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
		switch {
		case err != nil:
			return err
		case answer.StatusCode != r.Status:
			return fmt.Errorf("%s %s: %s: %.300s", r.Method, r.URL, answer.Status, text)
		case !strings.Contains(string(text), r.Text):
			return fmt.Errorf("%s %s: the answer has no %s", r.Method, r.URL, r.Text)
		}
		return nil
	})
}

// await tries until it works, and says what the last attempt said when it is
// too late.
func await(within time.Duration, try func() error) error {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return fmt.Errorf("not within %s: %w", within, err)
		}
	}
}

// lastOfLogs is the end of every daemon's log: when a node does not come up, the
// console is all that is left of it.
func lastOfLogs(dir string) string {
	const tail = 1500
	names, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	var out strings.Builder
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil || len(text) == 0 {
			continue
		}
		fmt.Fprintf(&out, "\n== %s\n%s", name, text[max(0, len(text)-tail):])
	}
	return out.String()
}
