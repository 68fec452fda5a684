package userland

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
)

// TestEveryUserlandHasARow: what a scenario can ask for is what can be made.
func TestEveryUserlandHasARow(t *testing.T) {
	if names := Names(); !slices.Equal(names, slices.Sorted(slices.Values(scenario.Userlands))) {
		t.Errorf("rows for %v, scenarios ask for %v", names, scenario.Userlands)
	}
}

func TestOneUserlandForEachSetOfPackages(t *testing.T) {
	one := Spec{"debian", []string{"b", "a"}}
	if same := (Spec{"debian", []string{"a", "b", "a"}}); same.entry() != one.entry() {
		t.Errorf("%s and %s are two entries", one, same)
	}
	for _, other := range []Spec{{"debian", nil}, {"debian", []string{"a"}}, {"debian", []string{"a b"}}} {
		if other.entry() == one.entry() {
			t.Errorf("%s and %s are one entry", one, other)
		}
	}
}

// standIn is an mmdebstrap that makes a tree and runs the hook as the real one does.
const standIn = `#!/bin/sh
for arg; do
	case $arg in
	--customize-hook=*) hook=${arg#*=} ;;
	esac
done
tree=$TMPDIR/tree
mkdir -p "$tree/etc/apt/apt.conf.d" "$tree/etc/apt/sources.list.d" "$tree/var/lib/dpkg" "$tree/var/lib/apt/lists"
printf 'Package: base\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n' > "$tree/var/lib/dpkg/status"
sh -c "$hook" exec "$tree"
`

func fillWith(t *testing.T, mmdebstrap string) (string, error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root makes userlands")
	}
	if err := able(); err != nil && !strings.Contains(err.Error(), "mmdebstrap") {
		t.Skip(err)
	}
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "mmdebstrap"), []byte(mmdebstrap), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	entry := filepath.Join(t.TempDir(), Spec{Name: "debian"}.entry())
	o := Options{Progress: func(string) {}}
	return entry, cache.Publish(entry, func(tmp string) error {
		return o.fill(context.Background(), tmp, Spec{Name: "debian"}, "", nil)
	})
}

func TestFill(t *testing.T) {
	entry, err := fillWith(t, standIn)
	if err != nil {
		t.Fatal(err)
	}
	u, err := Find(filepath.Dir(entry), Spec{Name: "debian"})
	if err != nil || !slices.Equal(u.Versions, []string{"base=1"}) || u.DiskSum == "" {
		t.Errorf("found %+v, %v", u, err)
	}
	good, bad, err := List(filepath.Dir(entry))
	if len(good) != 1 || len(bad) != 0 || err != nil {
		t.Errorf("listed %v, %v, %v", good, bad, err)
	}
	files, err := os.ReadDir(entry)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	if want := []string{diskFile, "sums.json", userlandFile}; !slices.Equal(names, want) {
		t.Errorf("the entry holds %v, want %v", names, want)
	}

	// a disk that was cut is found without reading it
	if err := os.Truncate(u.Disk(), 1<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := Find(filepath.Dir(entry), Spec{Name: "debian"}); err == nil || errors.Is(err, ErrMissing) {
		t.Errorf("found a damaged userland: %v", err)
	}
	for _, dry := range []bool{true, false} {
		gone, err := Prune(filepath.Dir(entry), false, dry)
		if err != nil || len(gone) != 1 || !strings.Contains(gone[0].Why, "damaged") {
			t.Errorf("pruned %+v, %v", gone, err)
		}
		if _, err := os.Stat(entry); (err == nil) != dry {
			t.Errorf("dry run %v: %v", dry, err)
		}
	}
}

func TestFillSaysWhatMmdebstrapSays(t *testing.T) {
	entry, err := fillWith(t, "#!/bin/sh\necho 'I: working' >&2; echo 'E: apt-get failed: 404' >&2; exit 3\n")
	if err == nil || !strings.HasSuffix(err.Error(), "mmdebstrap: exit status 3: apt-get failed: 404") {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(entry)); len(left) > 0 {
		t.Errorf("%s is left", left[0].Name())
	}
}

// TestNothingOutlivesUs: when oomlab is killed, what mmdebstrap has started is.
func TestNothingOutlivesUs(t *testing.T) {
	entry := t.TempDir()
	o := Options{Progress: func(string) {}}
	if os.Geteuid() != 0 {
		t.Skip("only root makes userlands")
	}
	script := filepath.Join(entry, "script")
	// in the background, in a session of its own, and holding none of our pipes
	text := "#!/bin/sh\nsetsid sleep 1000 > /dev/null 2>&1 &\nreadlink /proc/self/ns/pid > " + entry + "/ns\nexit 1\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := o.run(context.Background(), entry, entry, []string{script}); err == nil {
		t.Error("a script that failed did not")
	}
	ns, err := os.ReadFile(filepath.Join(entry, "ns"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if _, err := strconv.Atoi(p.Name()); err != nil {
			continue
		}
		if of, err := os.Readlink(filepath.Join("/proc", p.Name(), "ns/pid")); err == nil &&
			of == strings.TrimSpace(string(ns)) {
			t.Errorf("process %s is left", p.Name())
		}
	}
}
