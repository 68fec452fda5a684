// Package debian gets packages of any suite of Debian, without installing
// anything.
//
// They are downloaded by the machine's own apt, from the mirror that the machine
// already uses, into a state directory of their own: signatures are checked, and
// nothing of the machine's apt is changed.
package debian

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/oomlab/oomlab/harness/target/vm/cache"
)

// Arch is Debian's name for the architecture of userlands.
const Arch = "amd64"

// commandWait is how long one apt command may take; a kernel is 50 to 90 MB.
const commandWait = 15 * time.Minute

// Part is one package at one version.
type Part struct{ Name, Version string }

func (p Part) String() string { return p.Name + "=" + p.Version }

// Stanza is one package of a Packages index, by the names of its fields.
type Stanza map[string]string

// Options say where packages come from and where apt's private state is kept.
type Options struct {
	// Dir holds the private state, one directory for each suite.
	Dir string
	// Arch is the architecture of the packages; empty: [Arch].
	Arch string
	// AptDir is where the machine's apt is configured; empty: /etc/apt.
	AptDir string
	// Mirror replaces the machine's own Debian mirror; empty:
	// $OOMLAB_DEBIAN_MIRROR. It is needed where apt has no Debian source, such
	// as on Ubuntu.
	Mirror string
	// Keyring checks Mirror's signatures; empty: what apt trusts.
	Keyring string
	// Progress is told what is going on; it may be nil.
	Progress func(string)
}

// withDefaults fills in what is empty, but for Dir.
func (o Options) withDefaults() Options {
	if o.AptDir == "" {
		o.AptDir = "/etc/apt"
	}
	if o.Arch == "" {
		o.Arch = Arch
	}
	if o.Mirror == "" {
		o.Mirror = os.Getenv("OOMLAB_DEBIAN_MIRROR")
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return o
}

// Mirrors reads where the machine gets Debian from.
func (o Options) Mirrors() (Mirrors, error) {
	o = o.withDefaults()
	if o.Mirror != "" {
		s := source{uris: []string{o.Mirror}, signedBy: o.Keyring}
		return Mirrors{archive: []source{s}}, nil
	}
	var all []source
	read := func(file string, parse func(io.Reader) ([]source, error)) error {
		f, err := os.Open(file)
		if err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			return err
		}
		defer f.Close()
		found, err := parse(f)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, found...)
		return nil
	}
	problems := []error{read(filepath.Join(o.AptDir, "sources.list"), parseOneLine)}
	for pattern, parse := range map[string]func(io.Reader) ([]source, error){"*.list": parseOneLine,
		"*.sources": parseDeb822} {
		files, _ := filepath.Glob(filepath.Join(o.AptDir, "sources.list.d", pattern))
		for _, file := range files {
			problems = append(problems, read(file, parse))
		}
	}
	m := debianMirrors(all)
	if len(m.archive)+len(m.security) == 0 {
		problems = append(problems, fmt.Errorf("%s has no source of a Debian release; "+
			"set OOMLAB_DEBIAN_MIRROR to the address of one", o.AptDir))
		return m, errors.Join(problems...)
	}
	return m, nil
}

// Apt is a private state of apt for one suite.
type Apt struct {
	dir      string
	config   string
	progress func(string)
}

// Opened is the private state of a suite that [Options.Open] has written before.
func (o Options) Opened(suite string) *Apt {
	o = o.withDefaults()
	dir := filepath.Join(o.Dir, suite)
	return &Apt{dir: dir, config: filepath.Join(dir, "apt.conf"), progress: o.Progress}
}

// Open writes the configuration of a private state. Of the machine's own
// configuration it takes how things are acquired (proxies, time limits,
// certificates) and which keys and logins are used, and nothing else: hooks
// and pins are the machine's own affair.
func (o Options) Open(ctx context.Context, suite string, from Mirrors) (*Apt, error) {
	o = o.withDefaults()
	a := o.Opened(suite)
	dir := a.dir
	for _, sub := range []string{"lists/partial", "archives/partial", "empty"} {
		if err := cache.Dir(filepath.Join(dir, sub)); err != nil {
			return nil, err
		}
	}
	acquire, err := Acquire(ctx)
	if err != nil {
		return nil, err
	}
	conf := bytes.NewBuffer(acquire)
	for _, setting := range [][2]string{
		{"APT::Architecture", o.Arch},
		{"APT::Architectures", o.Arch},
		// The machine's apt drops to the user _apt, who cannot write here.
		{"APT::Sandbox::User", "root"},
		{"APT::Update::Error-Mode", "any"},
		{"Acquire::Languages", "none"},
		{"Acquire::GzipIndexes", "true"},
		{"Acquire::Retries", "2"},
		{"Dir::State", dir},
		{"Dir::State::lists", filepath.Join(dir, "lists")},
		{"Dir::State::status", "/dev/null"},
		{"Dir::Cache", dir},
		// apt's own caches take five times the room of the lists.
		{"Dir::Cache::pkgcache", ""},
		{"Dir::Cache::srcpkgcache", ""},
		{"Dir::Cache::archives", filepath.Join(dir, "archives")},
		{"Dir::Etc::main", filepath.Join(dir, "empty", "none")},
		{"Dir::Etc::parts", filepath.Join(dir, "empty")},
		{"Dir::Etc::preferences", filepath.Join(dir, "empty", "none")},
		{"Dir::Etc::preferencesparts", filepath.Join(dir, "empty")},
		{"Dir::Etc::sourcelist", filepath.Join(dir, "debian.sources")},
		{"Dir::Etc::sourceparts", filepath.Join(dir, "empty")},
		{"Dir::Etc::netrc", filepath.Join(o.AptDir, "auth.conf")},
		{"Dir::Etc::netrcparts", filepath.Join(o.AptDir, "auth.conf.d")},
		{"Dir::Etc::trusted", filepath.Join(o.AptDir, "trusted.gpg")},
		{"Dir::Etc::trustedparts", filepath.Join(o.AptDir, "trusted.gpg.d")},
	} {
		fmt.Fprintf(conf, "%s %q;\n", setting[0], setting[1])
	}
	if err := cache.Write(a.config, conf.Bytes()); err != nil {
		return nil, err
	}
	return a, cache.Write(filepath.Join(dir, "debian.sources"), []byte(deb822(from.serving(suite), suite, o.Arch)))
}

// Acquire is how the machine's apt acquires things, as lines of a configuration.
func Acquire(ctx context.Context) ([]byte, error) {
	dump, err := run(ctx, "", nil, "apt-config", "dump")
	if err != nil {
		return nil, err
	}
	var conf bytes.Buffer
	for line := range strings.Lines(string(dump)) {
		// What packagekit and others want downloaded besides (icons, file
		// lists) is left out.
		if strings.HasPrefix(line, "Acquire::") && !strings.HasPrefix(line, "Acquire::IndexTargets") {
			conf.WriteString(line)
		}
	}
	return conf.Bytes(), nil
}

// run runs a command with the private state. What it writes there is taken away
// from everybody else, as all that the cache holds.
func (a *Apt) run(ctx context.Context, dir string, argv ...string) ([]byte, error) {
	out, err := run(ctx, dir, []string{"APT_CONFIG=" + a.config, "LC_ALL=C.UTF-8"}, argv...)
	if privateErr := cache.Private(a.dir); err == nil {
		err = privateErr
	}
	return out, err
}

// Packages brings the lists of the suite up to date and reads those packages in
// them whose names are wanted.
func (a *Apt) Packages(ctx context.Context, wanted func(name string) bool) (map[string]Stanza, error) {
	if _, err := a.run(ctx, "", "apt-get", "-q", "update"); err != nil {
		return nil, err
	}
	dump, err := a.run(ctx, "", "apt-cache", "dumpavail")
	if err != nil {
		return nil, err
	}
	return parsePackages(bytes.NewReader(dump), wanted)
}

// parsePackages reads the wanted stanzas of a Packages index, by package name.
func parsePackages(r io.Reader, wanted func(name string) bool) (map[string]Stanza, error) {
	out := map[string]Stanza{}
	var current Stanza
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 4<<20)
	for sc.Scan() {
		line := sc.Text()
		if line == "" {
			current = nil
			continue
		}
		name, value, ok := strings.Cut(line, ": ")
		switch {
		case !ok || line[0] == ' ':
		case name == "Package":
			if current = nil; wanted(value) {
				current = Stanza{}
				out[value] = current
			}
		case current != nil:
			current[name] = value
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("package list: %w", err)
	}
	return out, nil
}

// run runs a command of apt or dpkg and returns what it prints. When it fails,
// the error is what the command itself gave as the reason.
func run(ctx context.Context, dir string, env []string, argv ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, commandWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = 5 * time.Second // apt's own children may hold the pipes
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, fmt.Errorf("%s is not installed, and this comes from Debian packages", argv[0])
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s %s: %w", argv[0], strings.Join(argv[1:], " "), context.Cause(ctx))
	case err != nil:
		return nil, fmt.Errorf("%s: %w: %s", argv[0], err, Reason(stderr.String()))
	}
	return stdout.Bytes(), nil
}

// Reason picks from what apt says the lines that say why it failed.
func Reason(stderr string) string {
	var errs, all []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		all = append(all, line)
		if e, ok := strings.CutPrefix(line, "E: "); ok {
			errs = append(errs, e)
		}
	}
	if len(errs) == 0 {
		errs = all[max(0, len(all)-3):]
	}
	text := strings.Join(errs, "; ")
	if strings.Contains(text, "No space left") || strings.Contains(text, "enough free space") {
		text += "; free some space, or set OOMLAB_CACHE to a directory with more"
	}
	return text
}
