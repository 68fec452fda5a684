package agent

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/oomlab/oomlab/harness/evidence"
)

// paths turns the numbers by which the kernel knows cgroups into paths: those
// of the run as the plan writes them ("/lab"), others absolute in their
// hierarchy behind a second slash ("//system.slice").
//
// The number is the inode of the cgroup's directory: kernfs hands out its id
// as the inode number on 64-bit machines (fs/kernfs, kernfs_ino).
type paths struct {
	mount, base string

	mu    sync.Mutex
	known map[uint64]string // "" for one that was looked for in vain
}

func newPaths(mount string, t *tree) *paths {
	p := &paths{mount: mount, base: t.base, known: map[uint64]string{}}
	p.learn(t.base)
	for _, c := range t.cgroups {
		p.learn(t.dir(c.Path))
	}
	return p
}

func inode(dir string) (uint64, bool) {
	info, err := os.Stat(dir)
	if err != nil {
		return 0, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return st.Ino, ok
}

func (p *paths) learn(dir string) {
	if ino, ok := inode(dir); ok {
		p.mu.Lock()
		p.known[ino] = p.name(dir)
		p.mu.Unlock()
	}
}

// name is the path of a directory as events have it.
func (p *paths) name(dir string) string {
	if dir == p.base {
		return "/"
	}
	if rest, ok := strings.CutPrefix(dir, p.base+"/"); ok {
		return "/" + rest
	}
	return "/" + "/" + strings.TrimPrefix(strings.TrimPrefix(dir, p.mount), "/")
}

// of is the path of the cgroup with the id, "" if there is none.
func (p *paths) of(id uint64) string {
	if id == 0 {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if name, ok := p.known[id]; ok {
		return name
	}
	p.known[id] = ""
	filepath.WalkDir(p.mount, func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // a cgroup that went away meanwhile is not the one
		}
		if ino, ok := inode(dir); ok && ino == id {
			p.known[id] = p.name(dir)
			return filepath.SkipAll
		}
		return nil
	})
	return p.known[id]
}

// fill adds the paths to what an eBPF program saw.
func (p *paths) fill(o *evidence.OOM) {
	if o.Task != nil && o.Task.Cgroup == "" {
		o.Task.Cgroup = p.of(o.Task.CgroupID)
	}
	if o.Control != nil && o.Control.Memcg == "" {
		o.Control.Memcg = p.of(o.Control.MemcgID)
	}
}
