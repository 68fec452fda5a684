package guest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/agent"
)

// What a machine with a userland has beside other guests.
const (
	userlandAgent = "/oomlab/agent"
	userlandFiles = "/oomlab/files" // what is copied to the same path of the disk
	userlandUnits = "/run/systemd/system"
	userlandHello = "/run/oomlab-hello" // files that Hello brings
)

// agentUnit runs the agent in a cgroup of its own below the root, which it may divide.
// An OOM kill in that cgroup is what the agent is there for: it must not end the unit.
const agentUnit = `[Unit]
Description=oomlab's agent
After=multi-user.target
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Service]
Type=exec
ExecStart=` + userlandAgent + ` userland %s
Slice=-.slice
Delegate=memory
OOMPolicy=continue
OOMScoreAdjust=-1000
LimitMEMLOCK=infinity
LimitNOFILE=65536
TasksMax=infinity
IgnoreSIGPIPE=no
Environment=HOME=/root TERM=linux
StandardOutput=append:/dev/ttyS0
StandardError=append:/dev/ttyS0
`

// agentTarget is what the kernel's command line asks systemd for: the agent says Hello
// when everything else is up.
const agentTarget = `[Unit]
Description=oomlab
Requires=multi-user.target
Wants=oomlab-agent.service
After=multi-user.target
AllowIsolate=yes
`

// masked are units that do nothing for a guest, or something at a time of their own.
var masked = []string{
	"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
	"fstrim.timer", "logrotate.timer", "man-db.timer", "motd-news.timer", "systemd-tmpfiles-clean.timer",
	"getty@tty1.service", "console-getty.service", "serial-getty@ttyS0.service", "serial-getty@ttyS1.service",
	"systemd-timesyncd.service", "systemd-random-seed.service", "systemd-networkd-wait-online.service",
}

// bootUserland switches to the disk and becomes its systemd. It returns only when that
// fails.
func bootUserland(channel string) error {
	// what is below /oomlab stays in reach
	if err := os.Link("/init", userlandAgent); err != nil {
		return err
	}
	if err := enterDisk(); err != nil {
		return err
	}
	if err := copyTree(userlandFiles, "/"); err != nil {
		return err
	}
	if err := os.MkdirAll(userlandUnits, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"oomlab-agent.service": fmt.Sprintf(agentUnit, channel), "oomlab.target": agentTarget,
	} {
		if err := os.WriteFile(filepath.Join(userlandUnits, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, name := range masked {
		if err := os.Symlink("/dev/null", filepath.Join(userlandUnits, name)); err != nil {
			return err
		}
	}
	const init = "/sbin/init"
	return fmt.Errorf("%s: %w", init, unix.Exec(init, []string{init}, []string{"TERM=linux"}))
}

// copyTree copies the files below a directory to the same places below another one.
// There may be none.
func copyTree(from, to string) error {
	err := filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		in, err := os.Open(name)
		if err != nil {
			return err
		}
		defer in.Close()
		out, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, info.Mode().Perm())
		if err != nil {
			return err
		}
		_, err = io.Copy(out, in)
		return errors.Join(err, out.Close())
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// ServeUserland is the agent of a machine with a userland, which systemd runs. It
// returns when the channel is closed or broken.
func ServeUserland(channel string) error {
	release, err := os.Open("/etc/os-release")
	if err != nil {
		return err
	}
	defer release.Close()
	files, err := readFiles(userlandHello)
	if err != nil {
		return err
	}
	return serve(channel, agent.Options{Userland: prettyName(release), Files: files})
}

// maxHello bounds what a Hello has of files.
const maxHello = 1 << 20

// readFiles reads the files of a directory, by name. There may be none.
func readFiles(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	out, sum := map[string]string{}, 0
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		if sum += len(data); sum > maxHello {
			return nil, fmt.Errorf("%s: more than %d bytes", dir, maxHello)
		}
		out[e.Name()] = string(data)
	}
	return out, err
}

// prettyName is what os-release(5) calls the distribution.
func prettyName(r io.Reader) string {
	for sc := bufio.NewScanner(r); sc.Scan(); {
		if value, ok := strings.CutPrefix(sc.Text(), "PRETTY_NAME="); ok {
			return strings.Trim(value, `"'`)
		}
	}
	return "unknown"
}
