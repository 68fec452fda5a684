package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/payload"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"oomlab": main})
}

// TestScripts runs testdata/script. None of them needs QEMU, a network or root.
func TestScripts(t *testing.T) {
	recordings, err := filepath.Abs("../../harness/verdict/testdata")
	if err != nil {
		t.Fatal(err)
	}
	campaign, err := filepath.Abs("../../harness/report/testdata/chaos-5")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: golden.Update(),
		Setup: func(env *testscript.Env) error {
			env.Setenv("RECORDINGS", recordings)
			env.Setenv("CAMPAIGN", campaign)
			env.Setenv("OOMLAB_CACHE", filepath.Join(env.WorkDir, "cache"))
			env.Setenv("NO_COLOR", "")
			env.Setenv("NL", "\n")
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond != "payload" {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			_, _, err := payload.Load()
			return err == nil, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": exitStatus},
	})
}

// exitStatus is the command
//
//	status N PROGRAM ARG...
//
// which runs a program and fails unless it exits with N: the other commands
// only tell zero from the rest.
func exitStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N PROGRAM ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// TestColourIsForTerminals asks a real pseudo-terminal.
func TestColourIsForTerminals(t *testing.T) {
	terminal := openTerminal(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	t.Setenv("TERM", "xterm")
	for _, tt := range []struct {
		name    string
		out     *os.File
		noColor string
		want    bool
	}{
		{"terminal", terminal, "", true},
		{"terminal with NO_COLOR", terminal, "1", false},
		{"file", file, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("NO_COLOR", tt.noColor)
			if got := (&app{out: tt.out}).terminal(); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	if (&app{out: &strings.Builder{}}).terminal() {
		t.Error("a buffer is no terminal")
	}
}

// openTerminal opens the far end of a pseudo-terminal.
func openTerminal(t *testing.T) *os.File {
	t.Helper()
	near, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { near.Close() })
	n, err := unix.IoctlGetInt(int(near.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(near.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	far, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	return far
}

// TestFirstSignalCancels: the first signal cancels with a cause that becomes
// exit status 130, and says what a second one does.
func TestFirstSignalCancels(t *testing.T) {
	var said strings.Builder
	ctx, stop := (&app{err: &said}).interruptible(t.Context())
	defer stop()
	if err := unix.Kill(os.Getpid(), unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the context was not cancelled within 10 s of SIGINT")
	}
	if cause := context.Cause(ctx); cause != errInterrupted {
		t.Errorf("cause: %v, want %v", cause, errInterrupted)
	}
	if want := "oomlab: interrupted; restoring everything (interrupt again to stop at once)\n"; said.String() != want {
		t.Errorf("said %q, want %q", said.String(), want)
	}
}

// TestRunName: a run directory is named after the scenario, and lies where it
// should wherever the file is.
func TestRunName(t *testing.T) {
	for file, want := range map[string]string{
		"own.yaml": "own", "./own.yaml": "own", "dir/own.yml": "dir/own",
		"../own.yaml": "own", "/tmp/x/own.yaml": "own", "a/../../own.yaml": "own", "stdin.yaml": "stdin",
	} {
		if got := runName(file); got != want {
			t.Errorf("%s: got %s, want %s", file, got, want)
		}
	}
}

// TestASignalEndsReading at once, whatever it is that nobody writes to any more.
func TestASignalEndsReading(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, args := range [][]string{
		{"validate", "fifo.yaml"}, {"run", "fifo.yaml"}, {"run", "-"}, {"validate", "-"},
		{"compare", "--kernels", "6.12", "fifo.yaml"}, {"explain", "fifo.log"}, {"explain", "-"},
		{"reproduce", "fifo.log"},
	} {
		cmd := exec.CommandContext(t.Context(), "oomlab", args...)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		fifo := args[len(args)-1]
		if fifo != "-" {
			if err := errors.Join(unix.Mkfifo(fifo, 0o600), cmd.Start()); err != nil {
				t.Fatal(err)
			}
			writer, err := os.OpenFile(fifo, os.O_WRONLY, 0) // waits for a reader
			if err != nil {
				t.Fatal(err)
			}
			defer writer.Close()
			os.Remove(fifo)
		} else {
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			// more than a pipe holds: it returns when somebody reads
			if _, err := in.Write(make([]byte, 70<<10)); err != nil {
				t.Fatal(err)
			}
		}
		if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		err = cmd.Wait()
		if !timer.Stop() || cmd.ProcessState.ExitCode() != exitInterrupted {
			t.Errorf("%q: %v", args, err)
		}
	}
}
