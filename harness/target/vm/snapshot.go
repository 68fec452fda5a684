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
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
	"github.com/oomlab/oomlab/harness/target/vm/qmp"
)

const (
	loadWait = 30 * time.Second // for a state to be loaded
	saveWait = 60 * time.Second // for a state to be saved
)

// snapshot is a guest that has said Hello and waits for a request. Its directory
// holds the memory, the state of the devices, and the files it was booted from.
type snapshot struct {
	dir  string
	meta meta
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

func (s *snapshot) file(name string) string { return filepath.Join(s.dir, name) }

func (s *snapshot) hello() (wire.Hello, error) {
	var hello wire.Hello
	if err := json.Unmarshal(s.meta.Hello, &hello); err != nil {
		return hello, fmt.Errorf("snapshot %s: hello: %w", s.dir, err)
	}
	return hello, nil
}

// identity is the key of a snapshot: everything that the guest's state depends
// on, and nothing that it does not, such as where files lie.
func (v *VM) identity(accel string) string {
	c := v.config(accel)
	c.QEMU, c.Kernel, c.Initrd, c.RAM, c.Console = "", "", "", "", ""
	if c.Swap != "" {
		c.Swap = v.o.SwapDisk.String() // the size matters, the name does not
	}
	if c.Disk != "" {
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

// loadSnapshot reads the entry dir and marks it as used.
func loadSnapshot(dir string) (*snapshot, error) {
	s := &snapshot{dir: dir}
	data, err := os.ReadFile(s.file("meta.json"))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &s.meta); err != nil {
		return nil, fmt.Errorf("%s: %w", s.file("meta.json"), err)
	}
	hello, err := s.hello()
	if err != nil {
		return nil, err
	}
	if hello.Protocol != wire.Protocol {
		return nil, fmt.Errorf("snapshot %s speaks protocol %d, not %d", dir, hello.Protocol, wire.Protocol)
	}
	now := time.Now()
	os.Chtimes(s.file("meta.json"), now, now) // only prune reads it
	return s, nil
}

// save writes a running guest's state to file. The guest stays stopped; its
// memory is complete in its own file then.
func save(ctx context.Context, p *process, file string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, saveWait, fmt.Errorf("not done within %v", saveWait))
	defer cancel()
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
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
	if err := p.monitor.Do(ctx, "migrate-set-parameters", map[string]any{"max-bandwidth": int64(64 << 30)}); err != nil {
		return err
	}
	if err := p.monitor.Do(ctx, "getfd", map[string]any{"fdname": "state"}, f); err != nil {
		return err
	}
	if err := p.monitor.Do(ctx, "migrate", map[string]any{"uri": "fd:state"}); err != nil {
		return err
	}
	if err := p.monitor.Migrated(ctx); err != nil {
		return err
	}
	return f.Sync()
}

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

// restore starts a guest from a snapshot. It runs when restore returns.
func (v *VM) restore(ctx context.Context, s *snapshot) (p *process, err error) {
	c := v.config(s.meta.Accel)
	c.RAM, c.Private, c.Incoming = s.file("ram"), true, true
	c.Kernel, c.Initrd = s.file("kernel"), s.file("initrd")
	if c.Disk != "" {
		c.Disk, c.Throwaway = s.file(diskFile), true
	}
	if c.GuestPort != 0 {
		if c.HostPort, err = freePort(); err != nil {
			return nil, err
		}
	}
	if c.Link != "" && v.link == nil {
		return nil, errors.New("vm: a guest with a link needs a cable, see Plug")
	}
	state, err := os.Open(s.file("state"))
	if err != nil {
		return nil, err
	}
	defer state.Close()
	p, err = launch(ctx, argv(c), state, v.link)
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
	cache.Sweep(dir, time.Hour)
	type used struct {
		dir  string
		at   time.Time
		size int64
	}
	var all []used
	var total int64
	metas, _ := filepath.Glob(filepath.Join(dir, "*", "meta.json"))
	for _, name := range metas {
		st, err := os.Stat(name)
		if err != nil {
			continue
		}
		u := used{filepath.Dir(name), st.ModTime(), allocated(filepath.Dir(name))}
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

// allocated is the room that a directory's files take on the disk, which for the
// memory of a guest is less than their length: it has holes.
func allocated(dir string) int64 {
	var sum int64
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				sum += st.Blocks * 512
			}
		}
		return nil
	})
	return sum
}

// copyFile copies a file and leaves its holes.
func copyFile(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	if err := out.Truncate(st.Size()); err != nil {
		return err
	}
	for at := int64(0); at < st.Size(); {
		data, err := in.Seek(at, seekData)
		if errors.Is(err, syscall.ENXIO) {
			return nil // a hole up to the end
		}
		if err != nil {
			return err
		}
		if at, err = in.Seek(data, seekHole); err != nil {
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

// See lseek(2).
const (
	seekData = 3
	seekHole = 4
)

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
