package kernels

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target/vm/debian"
)

// debian adds a kernel in one package, with some weight to it.
func (m *mirror) debian(version string, weight int) {
	release := version + "+deb13-cloud-amd64"
	image := append(bzImage(release), make([]byte, weight)...)
	m.add("linux-image-"+release, version+"-1", "kmod", map[string][]byte{"boot/vmlinuz-" + release: image})
}

// cutting serves a directory and breaks the first cuts downloads of packages off
// in the middle. It remembers where each download began.
type cutting struct {
	http.Handler
	mu     sync.Mutex
	cuts   int
	begins []string
}

func (c *cutting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, ".deb") {
		c.Handler.ServeHTTP(w, r)
		return
	}
	c.mu.Lock()
	c.begins = append(c.begins, r.Header.Get("Range"))
	cut := c.cuts > 0
	c.cuts--
	c.mu.Unlock()
	if cut {
		w = &half{w, 1 << 20}
	}
	c.Handler.ServeHTTP(w, r)
}

// half takes so many bytes and then drops the connection.
type half struct {
	http.ResponseWriter
	left int
}

func (h *half) Write(b []byte) (int, error) {
	if len(b) > h.left {
		h.ResponseWriter.Write(b[:h.left])
		panic(http.ErrAbortHandler)
	}
	h.left -= len(b)
	return h.ResponseWriter.Write(b)
}

// httpMirror serves a mirror as a real one is.
func httpMirror(t *testing.T, m *mirror, o *Options, cuts int) *cutting {
	t.Helper()
	if _, err := os.Stat(debian.AptHelper); err != nil {
		t.Skip("needs apt-helper")
	}
	c := &cutting{Handler: http.FileServer(http.Dir(m.dir)), cuts: cuts}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	// whatever proxy this machine has is not for the test's server; nor are retries
	conf := writeFile(t, filepath.Join(t.TempDir(), "apt.conf"),
		[]byte("Acquire::http::Proxy::127.0.0.1 \"DIRECT\";\n"))
	t.Setenv("APT_CONFIG", conf)
	writeFile(t, filepath.Join(o.AptDir, "sources.list"), []byte("deb [trusted=yes] "+server.URL+" trixie main\n"))
	return c
}

// TestADownloadGoesOn: what was cut off, again and again, is not begun anew.
func TestADownloadGoesOn(t *testing.T) {
	m, o := newMirror(t)
	m.debian("6.12.95", 8<<20)
	m.publish("trixie")
	c := httpMirror(t, m, &o, 5) // apt itself tries three times
	if k, err := Fetch(t.Context(), "6.12", o); err == nil {
		t.Fatalf("got %+v from a mirror that breaks off", k)
	}
	if list, err := List(o); err != nil || len(list) > 0 {
		t.Errorf("half a kernel is in the cache: %+v, %v", list, err)
	}
	pruned, err := Prune(t.Context(), PruneOptions{DryRun: true}, o)
	if err != nil || len(pruned) != 1 || pruned[0].Why != "a download that was cut short" || pruned[0].Size != 3<<20 {
		t.Errorf("could be pruned: %+v, %v", pruned, err)
	}
	k, err := Fetch(t.Context(), "6.12", o)
	if err != nil || k.Release != "6.12.95+deb13-cloud-amd64" {
		t.Fatalf("%+v, %v", k, err)
	}
	var want []string
	for n := range 6 {
		want = append(want, fmt.Sprintf("bytes=%d-", n<<20))
	}
	want[0] = ""
	if !slices.Equal(c.begins, want) {
		t.Errorf("downloads began at %q, want %q", c.begins, want)
	}
	if left, err := filepath.Glob(filepath.Join(o.Dir, ".apt", "*", "debs", "*")); err != nil || len(left) > 0 {
		t.Errorf("packages were left: %q, %v", left, err)
	}
}

func TestFetchAll(t *testing.T) {
	m, o := newMirror(t)
	m.debian("6.12.95", 0)
	m.publish("trixie")
	m.debian("6.16.12", 0)
	m.debian("6.18.15", 0)
	m.publish("trixie-backports")
	var mu sync.Mutex
	read := 0
	o.Progress = func(s string) {
		mu.Lock()
		defer mu.Unlock()
		if s == "reading the package lists of trixie" {
			read++
		}
	}
	got, err := FetchAll(t.Context(), []string{"6.12", "6.18.15", "6.17", "6.12.95"}, o)
	if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "fetch kernel 6.17: ") {
		t.Errorf("error %v, want that there is no 6.17", err)
	}
	var releases []string
	for _, k := range got {
		releases = append(releases, k.Release)
	}
	want := []string{"6.12.95+deb13-cloud-amd64", "6.18.15+deb13-cloud-amd64", "", "6.12.95+deb13-cloud-amd64"}
	if !slices.Equal(releases, want) {
		t.Errorf("got %q, want %q", releases, want)
	}
	if read != 1 {
		t.Errorf("the lists of trixie were read %d times", read)
	}
}

func TestAFullDisk(t *testing.T) {
	_, o := newMirror(t)
	var said string
	o.Progress = func(s string) { said = s }
	err := o.room([]Offer{{Package: "linux=1", Size: 1 << 60}})
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "set OOMLAB_CACHE to a directory with more") {
		t.Errorf("error %v", err)
	}
	if !strings.HasPrefix(said, "fetching linux=1: 1073741824Gi to download, ") {
		t.Errorf("said %q", said)
	}
}

func TestPrune(t *testing.T) {
	m, o := newMirror(t)
	m.debian("6.12.90", 0)
	m.debian("6.12.95", 0)
	m.publish("trixie")
	m.debian("6.18.15", 0)
	m.publish("trixie-backports")
	if _, err := FetchAll(t.Context(), []string{"6.12.90", "6.12.95", "6.18"}, o); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(o.Dir, "7.0.1-torn", "vmlinuz"), []byte("x"))
	names := func() []string {
		list, err := List(o)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, k := range list {
			out = append(out, k.Version.String())
		}
		return out
	}
	for _, tt := range []struct {
		name  string
		in    PruneOptions
		want  []string // what is said of each
		after []string
	}{
		{"dry run", PruneOptions{DryRun: true}, []string{"there is 6.12.95+deb13-cloud-amd64", "it cannot be read"},
			[]string{"6.12.90", "6.12.95", "6.18.15"}},
		{"superseded", PruneOptions{}, []string{"there is 6.12.95+deb13-cloud-amd64", "it cannot be read"},
			[]string{"6.12.95", "6.18.15"}},
		{"nothing left to do", PruneOptions{}, nil, []string{"6.12.95", "6.18.15"}},
		{"by name", PruneOptions{Specs: []string{"6.18"}}, []string{"asked for"}, []string{"6.12.95"}},
		{"all", PruneOptions{All: true}, []string{"all are to go"}, nil},
	} {
		got, err := Prune(t.Context(), tt.in, o)
		var whys []string
		for _, p := range got {
			whys = append(whys, p.Why)
			if p.Size <= 0 {
				t.Errorf("%s: %s takes %d bytes", tt.name, p.Name, p.Size)
			}
		}
		if err != nil || !slices.Equal(whys, tt.want) || !slices.Equal(names(), tt.after) {
			t.Errorf("%s: %v, %q, left %q; want %q, left %q", tt.name, err, whys, names(), tt.want, tt.after)
		}
	}
	_, err := Prune(t.Context(), PruneOptions{Specs: []string{"6.1"}}, o)
	if !errors.Is(err, ErrUnknown) {
		t.Errorf("a kernel that is not there: %v", err)
	}
}

// TestKnown: what the mirror offered is remembered, and asked of nobody.
func TestKnown(t *testing.T) {
	m, o := newMirror(t)
	m.debian("6.12.90", 0)
	m.debian("6.12.95", 0)
	m.publish("trixie")
	m.debian("6.18.15", 0)
	m.publish("trixie-backports")
	if _, err := Fetch(t.Context(), "6.12.90", o); err != nil {
		t.Fatal(err)
	}
	known, err := Known(o)
	if want := []kernel.Version{{Major: 6, Minor: 12, Patch: 90}}; err != nil || !slices.Equal(known, want) {
		t.Errorf("before the mirror was asked: %v, %v", known, err)
	}
	if _, err := Offered(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(m.dir); err != nil {
		t.Fatal(err)
	}
	known, err = Known(o)
	want := []kernel.Version{{Major: 6, Minor: 18, Patch: 15}, {Major: 6, Minor: 12, Patch: 95},
		{Major: 6, Minor: 12, Patch: 90}}
	if err != nil || !slices.Equal(known, want) {
		t.Errorf("known are %v, %v; want %v", known, err, want)
	}
	offers, asked, err := Remembered(o)
	if err != nil || len(offers) != 2 || asked.IsZero() { // the newest of each series
		t.Errorf("remembered %+v of %v, %v", offers, asked, err)
	}
	for cachedOnly, want := range map[bool]string{
		true: "6.12.90 cached ", false: "6.12.90 cached , 6.12.95 offered trixie, 6.18.15 offered trixie-backports",
	} {
		rows, when, err := Rows(cachedOnly, o)
		var got []string
		for _, r := range rows {
			got = append(got, r.Version+" "+r.State+" "+r.Suite)
		}
		if err != nil || strings.Join(got, ", ") != want || when.IsZero() != cachedOnly {
			t.Errorf("only cached ones %v: %q of %v, %v; want %q", cachedOnly, got, when, err, want)
		}
	}
}

func TestFetchIsCancelled(t *testing.T) {
	m, o := newMirror(t)
	m.debian("6.12.95", 0)
	m.publish("trixie")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Fetch(ctx, "6.12", o); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

// TestAPackageThatIsGone: a kernel that the lists have and the mirror has not is passed over
// for the next one; where there is none, what the mirror said is the reason.
func TestAPackageThatIsGone(t *testing.T) {
	m, o := newMirror(t)
	m.debian("6.12.90", 0)
	m.debian("6.12.95", 0)
	m.publish("trixie")
	httpMirror(t, m, &o, 0)
	remove := func(version string) {
		debs, err := filepath.Glob(filepath.Join(m.dir, "linux-image-"+version+"*.deb"))
		if err != nil || len(debs) != 1 {
			t.Fatalf("%q, %v", debs, err)
		}
		if err := os.Remove(debs[0]); err != nil {
			t.Fatal(err)
		}
	}
	var said []string
	o.Progress = func(text string) { said = append(said, text) }
	remove("6.12.95")
	k, err := Fetch(t.Context(), "6.12", o)
	if err != nil || k.Release != "6.12.90+deb13-cloud-amd64" || !slices.ContainsFunc(said, func(s string) bool {
		return strings.Contains(s, "has no more (404)") && strings.Contains(s, "6.12.95+deb13-cloud-amd64")
	}) {
		t.Errorf("%+v, %v; it said %q", k, err, said)
	}
	if _, err := Fetch(t.Context(), "6.12.95", o); err == nil || !strings.Contains(err.Error(), "404  Not Found") {
		t.Errorf("one that is gone, by its own name: %v", err)
	}
	remove("6.12.90")
	if _, err := Prune(t.Context(), PruneOptions{All: true}, o); err != nil {
		t.Fatal(err)
	}
	if _, err := Fetch(t.Context(), "6.12", o); err == nil || !strings.Contains(err.Error(), "404  Not Found") {
		t.Errorf("all are gone: %v", err)
	}
}
