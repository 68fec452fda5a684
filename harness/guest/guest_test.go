package guest

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/agent/wire"
)

func TestCommandLine(t *testing.T) {
	got := commandLine("console=ttyS0 oomlab.channel=vport0p1 quiet oomlab.cgroup=1 init=/a=b\n")
	for name, want := range map[string]string{
		"oomlab.channel": "vport0p1", "oomlab.cgroup": "1", "quiet": "", "init": "/a=b", "oomlab.node": "",
	} {
		if got[name] != want {
			t.Errorf("%s: %q; want %q", name, got[name], want)
		}
	}
}

// TestAwait: it tries until it works, and the last reason stays in the error.
func TestAwait(t *testing.T) {
	tries := 0
	err := await(time.Minute, func() error {
		if tries++; tries < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || tries != 3 {
		t.Errorf("%v after %d tries; want none after 3", err, tries)
	}
	err = await(time.Nanosecond, func() error { return os.ErrNotExist })
	if !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "not within 1ns: ") {
		t.Errorf("got %v; want the deadline and the last reason", err)
	}
}

func TestLastOfLogs(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("x", 2000) + "the end"
	for name, text := range map[string]string{"a.log": long, "empty.log": "", "other.txt": "no log"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := lastOfLogs(dir)
	want := "\n== " + filepath.Join(dir, "a.log") + "\n" + long[len(long)-1500:]
	if got != want {
		t.Errorf("got %d bytes %.80q; want %d", len(got), got, len(want))
	}
}

// TestRequest: a step that asks a daemon is done when the status and the text
// of the answer are the wanted ones, and says what the last answer was.
func TestRequest(t *testing.T) {
	asked := 0
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if asked++; asked == 1 {
			http.Error(w, "starting", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, "%s %s %s", r.Method, r.Header.Get("Content-Type"), body)
	}))
	defer server.Close()
	r := wire.BootRequest{Method: http.MethodPost, URL: server.URL, Body: "{}", Status: http.StatusOK}
	r.CA, r.Cert, r.Key = credentials(t, server)
	r.Text = "POST application/json {}"
	if err := request(r, time.Minute); err != nil || asked != 2 {
		t.Errorf("%v after %d requests; want none after 2", err, asked)
	}
	r.Text = "ready"
	if err := request(r, time.Nanosecond); err == nil || !strings.HasSuffix(err.Error(), "the answer has no ready") {
		t.Errorf("got %v; want what the answer lacks", err)
	}
	r.Status, r.Text = http.StatusCreated, ""
	if err := request(r, time.Nanosecond); err == nil || !strings.Contains(err.Error(), ": 200 OK: POST") {
		t.Errorf("got %v; want the answer's status and text", err)
	}
}

// credentials writes what a client of the server needs into files.
func credentials(t *testing.T, server *httptest.Server) (ca, cert, key string) {
	t.Helper()
	pair := server.TLS.Certificates[0]
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name, kind string, data []byte) string {
		name = filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	return file("ca", "CERTIFICATE", server.Certificate().Raw),
		file("cert", "CERTIFICATE", pair.Certificate[0]), file("key", "PRIVATE KEY", der)
}

// TestStepNeedsSomethingToDo: a step of a boot file that this agent does not
// know is an error, not a step that is done.
func TestStepNeedsSomethingToDo(t *testing.T) {
	if err := (&node{}).step(wire.BootStep{Name: "unknown"}); err == nil {
		t.Error("an empty step was done")
	}
}

func TestCopyTree(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	if err := copyTree(filepath.Join(from, "none"), to); err != nil {
		t.Errorf("no directory: %v", err)
	}
	script := filepath.Join(from, "home/me/grow.sh")
	if err := os.MkdirAll(filepath.Dir(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := copyTree(from, to); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(to, "home/me/grow.sh"))
	if err != nil || info.Mode().Perm() != 0o755 || info.Size() != 10 {
		t.Errorf("copied %v, %v", info, err)
	}
	// a directory is in the way
	if err := copyTree(filepath.Dir(script), filepath.Join(to, "home/me/grow.sh")); err == nil {
		t.Error("a file became a directory")
	}
}

func TestPrettyName(t *testing.T) {
	for in, want := range map[string]string{
		"ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n": "Debian GNU/Linux 13 (trixie)",
		"PRETTY_NAME='x'": "x", "NAME=y\n": "unknown", "": "unknown",
	} {
		if got := prettyName(strings.NewReader(in)); got != want {
			t.Errorf("%q is called %q, want %q", in, got, want)
		}
	}
}

func TestReadFiles(t *testing.T) {
	dir := t.TempDir()
	if got, err := readFiles(filepath.Join(dir, "none")); got != nil || err != nil {
		t.Errorf("no directory: %v, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kubeconfig"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := readFiles(dir); len(got) != 1 || got["kubeconfig"] != "x" || err != nil {
		t.Errorf("read %v, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "big"), make([]byte, maxHello), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readFiles(dir); err == nil || !strings.HasSuffix(err.Error(), "more than 1048576 bytes") {
		t.Errorf("too much: %v", err)
	}
}
