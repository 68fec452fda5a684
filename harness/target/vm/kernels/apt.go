package kernels

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
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
)

// arch is Debian's name for the guest's architecture.
const arch = "amd64"

// commandWait is how long one apt command may take; a kernel is 50 to 90 MB.
const commandWait = 15 * time.Minute

// sweepAge is after how long an unfinished entry is taken for abandoned.
const sweepAge = time.Hour

// part is one package that a kernel is made of.
type part struct{ name, version string }

// stanza is one package of a Packages index.
type stanza map[string]string

// offers are all kernels in the given suites, oldest first. A suite that cannot
// be read does not hide the others; its reason is in the error.
func offers(ctx context.Context, names []string, o Options) ([]Offer, error) {
	mirrors, err := o.mirrors()
	if err != nil {
		return nil, err
	}
	var all []Offer
	var problems []error
	for _, name := range names {
		from := mirrors.serving(name)
		if len(from) == 0 {
			problems = append(problems, fmt.Errorf("%s: apt has no such source", name))
			continue
		}
		o.Progress("reading the package lists of " + name)
		a, err := o.apt(ctx, name, from)
		if err != nil {
			return all, err
		}
		found, err := a.offers(ctx)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
			if ctx.Err() != nil {
				break
			}
			continue
		}
		all = append(all, found...)
	}
	sortOffers(all)
	return all, errors.Join(problems...)
}

func sortOffers(all []Offer) { slices.SortStableFunc(all, compareOffers) }

// mirrors reads where the machine gets Debian from.
func (o Options) mirrors() (mirrors, error) {
	if o.Mirror != "" {
		s := source{uris: []string{o.Mirror}, signedBy: o.Keyring}
		return mirrors{archive: []source{s}}, nil
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
	for pattern, parse := range map[string]func(io.Reader) ([]source, error){"*.list": parseOneLine, "*.sources": parseDeb822} {
		files, _ := filepath.Glob(filepath.Join(o.AptDir, "sources.list.d", pattern))
		for _, file := range files {
			problems = append(problems, read(file, parse))
		}
	}
	m := debianMirrors(all)
	if len(m.archive)+len(m.security) == 0 {
		problems = append(problems, fmt.Errorf("%s has no source of a Debian release; "+
			"set OOMLAB_DEBIAN_MIRROR to the address of one, or give a path to a bzImage", o.AptDir))
		return m, errors.Join(problems...)
	}
	return m, nil
}

// apt is a private state of apt for one suite.
type apt struct {
	dir    string
	config string
	suite  string
}

// apt writes the configuration of a private state. Of the machine's own
// configuration it takes how things are acquired (proxies, time limits,
// certificates) and which keys and logins are used, and nothing else: hooks
// and pins are the machine's own affair.
func (o Options) apt(ctx context.Context, suite string, from []source) (*apt, error) {
	dir := filepath.Join(o.Dir, ".apt", suite)
	a := &apt{dir: dir, config: filepath.Join(dir, "apt.conf"), suite: suite}
	for _, sub := range []string{"lists/partial", "archives/partial", "empty"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, cache.Hint(err)
		}
	}
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
	for _, setting := range [][2]string{
		{"APT::Architecture", arch},
		{"APT::Architectures", arch},
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
		fmt.Fprintf(&conf, "%s %q;\n", setting[0], setting[1])
	}
	// A proxy's password may be among the settings.
	if err := os.WriteFile(a.config, conf.Bytes(), 0o600); err != nil {
		return nil, cache.Hint(err)
	}
	text := deb822(from, suite, arch)
	return a, cache.Hint(os.WriteFile(filepath.Join(dir, "debian.sources"), []byte(text), 0o600))
}

func (a *apt) run(ctx context.Context, dir string, argv ...string) ([]byte, error) {
	return run(ctx, dir, []string{"APT_CONFIG=" + a.config, "LC_ALL=C.UTF-8"}, argv...)
}

// offers brings the lists of the suite up to date and reads the kernels in them.
func (a *apt) offers(ctx context.Context) ([]Offer, error) {
	if _, err := a.run(ctx, "", "apt-get", "-q", "update"); err != nil {
		return nil, err
	}
	dump, err := a.run(ctx, "", "apt-cache", "dumpavail")
	if err != nil {
		return nil, err
	}
	packages, err := parsePackages(bytes.NewReader(dump))
	if err != nil {
		return nil, err
	}
	return kernelsIn(packages, a.suite), nil
}

var kernelPackage = regexp.MustCompile(`^linux-(image|binary|modules|base)-(\d.*-cloud-` + arch + `)$`)

// parsePackages reads those stanzas of a Packages index that belong to cloud
// kernels, by package name. Signed and unsigned builds hold the same kernel; the
// signed ones have the plain name.
func parsePackages(r io.Reader) (map[string]stanza, error) {
	out := map[string]stanza{}
	var current stanza
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
			if current = nil; kernelPackage.MatchString(value) {
				current = stanza{}
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

// kernelsIn follows every image package to the packages that hold its parts.
// Up to 6.18 the image package has them all; from 6.19 on the kernel itself is
// in linux-binary and the modules are in linux-modules.
//
// Debian removes a superseded version's parts at different times. Without
// linux-binary there is no kernel. Without linux-base there is only no build
// configuration, and without linux-modules the kernel boots but has no modules.
func kernelsIn(packages map[string]stanza, suite string) []Offer {
	var out []Offer
	for name, s := range packages {
		m := kernelPackage.FindStringSubmatch(name)
		if m[1] != "image" {
			continue
		}
		version, err := kernel.ParseVersion(s["Version"])
		if err != nil {
			continue
		}
		offer := Offer{Version: version, Release: m[2], Suite: suite, Package: name + "=" + s["Version"]}
		bootable := true
		wanted := []string{name}
		for len(wanted) > 0 {
			name, wanted = wanted[0], wanted[1:]
			s, ok := packages[name]
			if !ok {
				switch kernelPackage.FindStringSubmatch(name)[1] {
				case "binary":
					bootable = false
				case "modules":
					offer.Lacks = append(offer.Lacks, "modules")
				}
				continue
			}
			p := part{name, s["Version"]}
			if slices.Contains(offer.parts, p) {
				continue
			}
			size, err := strconv.ParseInt(s["Size"], 10, 64)
			if err != nil {
				bootable = false // a record that is cut short
				continue
			}
			offer.parts, offer.Size = append(offer.parts, p), offer.Size+kernel.Bytes(size)
			for dependency := range strings.SplitSeq(s["Depends"], ",") {
				dependency, _, _ = strings.Cut(strings.TrimSpace(dependency), " ")
				if d := kernelPackage.FindStringSubmatch(dependency); d != nil && d[2] == m[2] {
					wanted = append(wanted, dependency)
				}
			}
		}
		if bootable {
			out = append(out, offer)
		}
	}
	slices.SortFunc(out, func(a, b Offer) int { return strings.Compare(a.Package, b.Package) })
	return out
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
		return nil, fmt.Errorf("%s is not installed, and kernels come from Debian packages; give a path to a bzImage", argv[0])
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s %s: %w", argv[0], strings.Join(argv[1:], " "), context.Cause(ctx))
	case err != nil:
		return nil, fmt.Errorf("%s: %w: %s", argv[0], err, reason(stderr.String()))
	}
	return stdout.Bytes(), nil
}

// reason picks from what apt says the lines that say why it failed.
func reason(stderr string) string {
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
