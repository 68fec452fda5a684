package vm

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/host"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
	"github.com/oomlab/oomlab/harness/target/vm/qmp"
)

const (
	loadWait = 30 * time.Second // for a state to be loaded
	saveWait = 60 * time.Second // for a state to be saved
)

// snapshot is a guest that has said Hello and waits for a request. Its cache entry
// holds the memory, the state of the devices, and the files that it booted from.
type snapshot struct {
	entry *cache.Entry
	meta  meta
}

// meta is meta.json of a snapshot.
type meta struct {
	Key     string          `json:"key"`
	Release string          `json:"release"`
	QEMU    string          `json:"qemu"`
	Accel   string          `json:"accel"`
	Hello   json.RawMessage `json:"hello"`
	BootMS  int64           `json:"boot_ms"` // from starting QEMU to Hello
	SaveMS  int64           `json:"save_ms"`
}

func (s *snapshot) hello() (wire.Hello, error) {
	var hello wire.Hello
	if err := json.Unmarshal(s.meta.Hello, &hello); err != nil {
		return hello, fmt.Errorf("snapshot %s: hello: %w", s.entry.Dir(), err)
	}
	return hello, nil
}

// identity is the key of a snapshot: everything that the guest's state depends
// on, and nothing that it does not, such as where files lie.
func (v *VM) identity(accel string) string {
	c := v.config(accel)
	c.QEMU, c.Kernel, c.Initrd, c.Console = "", "", "", ""
	c.RAM = make([]string, v.nodes())
	if c.Swap != "" {
		c.Swap = v.o.SwapDisk.String() // the size matters, the name does not
	}
	switch {
	case v.o.FilesDisk > 0:
		c.Disk = "files:" + v.o.FilesDisk.String()
	case c.Disk != "":
		c.Disk = v.o.DiskSum
	}
	h := sha256.New()
	for _, part := range slices.Concat([]string{v.version, v.kernelSum, v.initrdSum}, argv(c)) {
		fmt.Fprintf(h, "%d:%s\n", len(part), part)
	}
	if accel == KVM {
		// The guest sees the host's processor.
		fmt.Fprintln(h, processor())
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}

// processor is what makes two hosts' processors different to a guest.
func processor() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(data), "\n\n")
	var out []string
	for line := range strings.Lines(first) {
		name, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(name) {
		case "model name", "flags", "microcode", "stepping":
			out = append(out, strings.TrimSpace(value))
		}
	}
	return strings.Join(out, "|")
}

// metaFile describes a snapshot. Its mtime is the time of the last use.
const metaFile = "meta.json"

// loadSnapshot opens the entry dir, verifies it, and marks it as used. The error is an
// fs.ErrNotExist if there is no entry.
func loadSnapshot(dir string) (*snapshot, error) {
	entry, err := cache.Open(dir)
	if err != nil {
		return nil, err
	}
	s := &snapshot{entry: entry}
	if err := s.read(); err != nil {
		return nil, errors.Join(err, entry.Close())
	}
	now := time.Now()
	os.Chtimes(filepath.Join(dir, metaFile), now, now) // only prune reads it
	return s, nil
}

func (s *snapshot) read() error {
	if err := s.entry.Verify(); err != nil {
		return err
	}
	if err := s.entry.ReadJSON(metaFile, &s.meta); err != nil {
		return err
	}
	hello, err := s.hello()
	if err != nil {
		return err
	}
	if dir := s.entry.Dir(); s.meta.Key != filepath.Base(dir) || hello.Protocol != wire.Protocol {
		return fmt.Errorf("snapshot %s: key %s, protocol %d are not as expected", dir, s.meta.Key, hello.Protocol)
	}
	return nil
}

// save writes a running guest's state to file. The guest stays stopped; its
// memory is complete in its own file then.
func save(ctx context.Context, p *process, file string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, saveWait, fmt.Errorf("not done within %v", saveWait))
	defer cancel()
	f, err := cache.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := p.monitor.Do(ctx, "stop", nil); err != nil {
		return err
	}
	if err := p.monitor.Do(ctx, "migrate-set-capabilities", capabilities); err != nil {
		return err
	}
	// A limit on the rate is for networks.
	if err := p.monitor.Do(ctx, "migrate-set-parameters",
		map[string]any{"max-bandwidth": int64(64 << 30)}); err != nil {
		return err
	}
	if err := p.monitor.Do(ctx, "getfd", map[string]any{"fdname": "state"}, f); err != nil {
		return err
	}
	if err := p.monitor.Do(ctx, "migrate", map[string]any{"uri": "fd:state"}); err != nil {
		return err
	}
	return p.monitor.Migrated(ctx)
}

// ramOf is the file of a guest's memory that belongs to a node.
func ramOf(node int) string {
	if node == 0 {
		return "ram"
	}
	return "ram" + strconv.Itoa(node)
}

// nodes is how many NUMA nodes the guest has.
func (v *VM) nodes() int { return max(1, len(v.o.Nodes)) }

// diskFile is a snapshot's copy of the guest's disk, as it was when the guest
// stopped.
const diskFile = "disk.img"

// freePort is a TCP port of loopback that nobody listens on. Somebody else may
// take it before QEMU does; then QEMU says so and ends.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// capabilities of a migration, set at both ends. Memory that is a shared file is
// not written to the state: the file is there already.
var capabilities = map[string]any{"capabilities": []map[string]any{
	{"capability": "events", "state": true},
	{"capability": "x-ignore-shared", "state": true},
}}

// restore starts a guest from a snapshot. It runs when restore returns. QEMU opens the
// files through a descriptor of the directory: the path may refer to another snapshot
// by now.
func (v *VM) restore(ctx context.Context, s *snapshot) (p *process, err error) {
	dir, err := s.entry.Directory()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	state, err := s.entry.File("state")
	if err != nil {
		return nil, err
	}
	defer state.Close()
	at := inherited(fdEntry)
	c := v.config(s.meta.Accel)
	c.Private, c.Incoming = true, true
	for i := range v.nodes() {
		c.RAM = append(c.RAM, at+"/"+ramOf(i))
	}
	c.Kernel, c.Initrd = at+"/kernel", at+"/initrd"
	if c.Disk != "" {
		c.Disk, c.Throwaway = at+"/"+diskFile, true
	}
	files := []*os.File{state, v.link, dir}
	if c.ReadOnly = opensReadOnly(v.version); !c.ReadOnly {
		for i := range c.RAM {
			ram, err := s.copiedRAM(ramOf(i))
			if err != nil {
				return nil, err
			}
			if files = append(files, ram); ram != nil {
				defer ram.Close()
				c.RAM[i] = inherited(fdRAM + i)
			}
		}
	}
	if c.GuestPort != 0 {
		if c.HostPort, err = freePort(); err != nil {
			return nil, err
		}
	}
	if c.Link != "" && v.link == nil {
		return nil, errors.New("vm: a guest with a link needs a cable, see Plug")
	}
	p, err = launch(ctx, argv(c), files...)
	if err != nil {
		return nil, err
	}
	p.port = c.HostPort
	ctx, cancel := context.WithTimeoutCause(ctx, loadWait, fmt.Errorf("not done within %v", loadWait))
	defer cancel()
	err = load(ctx, p.monitor)
	if err != nil {
		return nil, errors.Join(err, p.kill(), p.complaint())
	}
	return p, nil
}

// copiedRAM copies a file of the snapshot's memory into a memfd if the file is not writable.
// QEMU before 8.2 opens a private mapping for writing too, though it never writes
// there. The result is nil if the file is writable.
func (s *snapshot) copiedRAM(name string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(s.entry.Dir(), name), os.O_RDWR, 0)
	if err == nil {
		return nil, f.Close()
	}
	if !cache.CannotWrite(err) {
		return nil, err
	}
	in, err := s.entry.File(name)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, err := host.Memory("ram")
	if err != nil {
		return nil, err
	}
	if err := copyData(out, in); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return out, nil
}

func load(ctx context.Context, m *qmp.Monitor) error {
	if err := m.Do(ctx, "migrate-set-capabilities", capabilities); err != nil {
		return err
	}
	if err := m.Do(ctx, "migrate-incoming", map[string]any{"uri": fmt.Sprintf("fd:%d", fdState)}); err != nil {
		return err
	}
	if err := m.Migrated(ctx); err != nil {
		return err
	}
	return m.Do(ctx, "cont", nil)
}

// prune deletes the snapshots that were not used for longest, until the rest are
// at most limit bytes, and what makers left behind that were killed. The one
// named keep stays. It is best effort: a cache that is too big is no error.
func prune(dir string, limit kernel.Bytes, keep string) {
	cache.Sweep(dir)
	type used struct {
		dir  string
		at   time.Time
		size int64
	}
	var all []used
	var total int64
	metas, _ := filepath.Glob(filepath.Join(dir, "*", metaFile))
	for _, name := range metas {
		st, err := os.Stat(name)
		if err != nil {
			continue
		}
		u := used{filepath.Dir(name), st.ModTime(), int64(cache.Allocated(filepath.Dir(name)))}
		all, total = append(all, u), total+u.size
	}
	slices.SortFunc(all, func(a, b used) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	for _, u := range all {
		if total <= int64(limit) {
			return
		}
		if u.dir != keep && cache.Remove(u.dir) == nil {
			total -= u.size
		}
	}
}

// copyFile copies a file and leaves its holes.
func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := cache.Create(to)
	if err != nil {
		return err
	}
	return errors.Join(copyData(out, in), out.Close())
}

// copyData copies in to out, which is empty, and leaves holes.
func copyData(out, in *os.File) error {
	st, err := in.Stat()
	if err != nil {
		return err
	}
	if err := out.Truncate(st.Size()); err != nil {
		return err
	}
	for at := int64(0); at < st.Size(); {
		data, err := host.SeekData(in, at)
		if errors.Is(err, io.EOF) {
			return nil // a hole up to the end
		}
		if err != nil {
			return err
		}
		if at, err = host.SeekHole(in, data); err != nil {
			return err
		}
		if _, err := in.Seek(data, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, data), io.LimitReader(in, at-data)); err != nil {
			return err
		}
	}
	return nil
}

func hashFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
