package userland

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/oomlab/oomlab/harness/host"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
	"github.com/oomlab/oomlab/harness/target/vm/debian"
)

// Options say where userlands come from and where they are kept.
type Options struct {
	Dir      string         // empty: userland/ in cache.Root
	Debian   debian.Options // its Dir and Progress are set by Make
	Progress func(string)   // may be nil
}

// diskSize is what the file system could grow to; what is not used takes no room.
const diskSize = 8 * kernel.GiB

// makeWait is how long mmdebstrap may take.
const makeWait = 30 * time.Minute

// Make makes the userland for a spec. One that is there is made again if fresh, and
// returned otherwise.
func Make(ctx context.Context, s Spec, fresh bool, o Options) (Userland, error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	dir, err := home(o.Dir)
	if err != nil {
		return Userland{}, err
	}
	if err := able(); err != nil {
		return Userland{}, err
	}
	unlock, err := cache.Lock(ctx, filepath.Join(dir, ".lock"))
	if err != nil {
		return Userland{}, err
	}
	defer unlock()
	cache.Sweep(dir)
	entry := filepath.Join(dir, s.entry())
	u, err := read(entry)
	if err == nil && !fresh {
		return u, nil
	}
	if err != nil && !errors.Is(err, ErrMissing) {
		o.Progress(fmt.Sprintf("the userland %s is damaged and is made again: %v", s, err))
	}
	sources, acquire, err := o.prepare(ctx, dir, s)
	if err != nil {
		return Userland{}, fmt.Errorf("userland %s: %w", s, err)
	}
	err = cache.Publish(entry, func(tmp string) error { return o.fill(ctx, tmp, s, sources, acquire) })
	if err != nil {
		return Userland{}, fmt.Errorf("userland %s: %w", s, err)
	}
	return read(entry)
}

// able says what this machine lacks to make userlands.
func able() error {
	for program, pkg := range map[string]string{"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs"} {
		if _, err := exec.LookPath(program); err != nil {
			return &target.Missing{What: program + ", to make a userland", Hint: "install the package " + pkg}
		}
	}
	if runtime.GOARCH != debian.Arch {
		return &target.Missing{What: "an " + debian.Arch + " machine, to make a userland, not " + runtime.GOARCH,
			Hint: "make it on one; its cache can be copied"}
	}
	if os.Geteuid() != 0 {
		return &target.Missing{What: "root, to make a userland",
			Hint: "run oomlab userland build once as root, with OOMLAB_CACHE set to this user's cache"}
	}
	return nil
}

// prepare looks the packages up, and how much room they need. It returns the
// sources and the settings for mmdebstrap.
func (o Options) prepare(ctx context.Context, dir string, s Spec) (sources string, acquire []byte, err error) {
	d := o.Debian
	d.Dir, d.Progress = filepath.Join(dir, ".apt"), o.Progress
	mirrors, err := d.Mirrors()
	if err != nil {
		return "", nil, err
	}
	suites := known[s.Name].suites
	if !mirrors.Serve(suites[0]) {
		return "", nil, fmt.Errorf("apt has no source that could have %s", suites[0])
	}
	a, err := d.Open(ctx, suites[0], mirrors)
	if err != nil {
		return "", nil, err
	}
	o.Progress("reading the package lists of " + suites[0])
	sizes, err := a.Packages(ctx, func(string) bool { return true })
	if err != nil {
		return "", nil, err
	}
	names, download, err := a.Closure(ctx, s.all())
	if err != nil {
		return "", nil, err
	}
	var installed kernel.Bytes
	for _, name := range names {
		if n, err := strconv.ParseInt(sizes[name]["Installed-Size"], 10, 64); err == nil {
			installed += kernel.Bytes(n) * kernel.KiB
		}
	}
	// the tree, the disk, and the packages themselves
	free, err := cache.Room(dir, "the userland "+s.String(), 2*installed+download)
	if err != nil {
		return "", nil, err
	}
	o.Progress(fmt.Sprintf("making the userland %s: %d packages, %s to download, %s free in %s", s, len(names),
		download.Human(), free.Human(), dir))
	acquire, err = debian.Acquire(ctx)
	return mirrors.Sources(suites...), acquire, err
}

// configuration is a shell script that mmdebstrap runs when everything is installed.
// $1 is the tree; the script is in a directory of the entry. What a first boot would
// make up is given.
const configuration = `set -e
root=$1
entry=$(dirname "$(dirname "$0")")
echo oomlab > "$root/etc/hostname"
echo '127.0.0.1 localhost oomlab' > "$root/etc/hosts"
echo 6f6f6d6c61620000000000000000004f > "$root/etc/machine-id"
: > "$root/etc/fstab"
rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap" "$root/etc/apt/sources.list.d/"* "$root/etc/apt/sources.list"
rm -rf "$root/var/lib/apt/lists/"* "$root/var/cache/apt/"*
mkdir -p "$root/oomlab"
dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Package}=${Version}\n' \
	> "$entry/packages"
# without what is mounted in the tree
mkdir "$entry/flat"
mount --bind "$root" "$entry/flat"
mke2fs -q -t ext4 -O ^has_journal,^resize_inode -m 0 -E root_owner=0:0,lazy_itable_init=1 \
	-d "$entry/flat" "$entry/disk.img"
umount "$entry/flat"
rmdir "$entry/flat"
`

// fill makes the cache entry.
func (o Options) fill(ctx context.Context, dir string, s Spec, sources string, acquire []byte) error {
	work := filepath.Join(dir, "work")
	if err := cache.Dir(work); err != nil {
		return err
	}
	script := filepath.Join(work, "configure")
	for file, text := range map[string]string{
		"debian.sources": sources, "acquire.conf": string(acquire), "configure": configuration,
	} {
		if err := os.WriteFile(filepath.Join(work, file), []byte(text), 0o600); err != nil {
			return err
		}
	}
	u := Userland{Format: Format, Name: s.Name, Packages: s.sorted(), Made: time.Now().UTC().Truncate(time.Second)}
	disk := filepath.Join(dir, diskFile)
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(disk, int64(diskSize)); err != nil {
		return err
	}
	argv := []string{"mmdebstrap", "--mode=root", "--variant=minbase", "--format=null", "--quiet",
		"--architectures=" + debian.Arch, "--include=" + strings.Join(s.all(), ","),
		"--aptopt=" + filepath.Join(work, "acquire.conf"),
		`--aptopt=APT::Sandbox::User "root"`,
		"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		// Packages link alternatives of manual pages, whose directories are left out with them:
		// without these update-alternatives(1) fails, and the installation with it.
		`--setup-hook=for n in 1 2 3 4 5 6 7 8; do mkdir -p "$1/usr/share/man/man$n"; done`,
		"--customize-hook=sh '" + strings.ReplaceAll(script, "'", `'\''`) + `' "$1"`,
		known[s.Name].suites[0], "-", filepath.Join(work, "debian.sources")}
	if err := o.run(ctx, dir, work, argv); err != nil {
		return err
	}
	packages, err := os.ReadFile(filepath.Join(dir, "packages"))
	if err != nil {
		return err
	}
	u.Versions = strings.Fields(string(packages))
	if err := errors.Join(os.Remove(filepath.Join(dir, "packages")), os.RemoveAll(work)); err != nil {
		return err
	}
	data, err := json.MarshalIndent(u, "", "  ")
	if err != nil {
		return err
	}
	return cache.Write(filepath.Join(dir, userlandFile), append(data, '\n'))
}

// run runs mmdebstrap in namespaces of its own: whatever it starts and mounts ends with
// it, and it ends with us.
func (o Options) run(ctx context.Context, entry, work string, argv []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, makeWait, fmt.Errorf("not done within %v", makeWait))
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "TMPDIR="+work, "LC_ALL=C.UTF-8",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = host.Contained() // Ctrl-C is ours to handle: it ends ctx
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	failed := make(chan error, 1)
	go func() {
		// PR_SET_PDEATHSIG is about the thread that forked.
		runtime.LockOSThread()
		failed <- cmd.Run()
	}()
	done := o.watch(entry)
	err := <-failed
	done()
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("mmdebstrap: %w: %s", err, debian.Reason(said.String()))
	}
	return nil
}

// watch tells how far mmdebstrap is, until done is called.
func (o Options) watch(entry string) (done func()) {
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(10 * time.Second)
		defer tick.Stop()
		for begin := time.Now(); ; {
			select {
			case <-over:
				return
			case <-tick.C:
				o.Progress(fmt.Sprintf("mmdebstrap: %s after %.0f s", cache.Allocated(entry).Human(),
					time.Since(begin).Seconds()))
			}
		}
	}()
	return func() {
		close(over)
		<-ended
	}
}
