package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/plan"
)

// The operations of an undo list. Each may be repeated: what is already put
// back, or was never changed, is left alone.
const (
	undoKill    = "kill-cgroup" // kills everything in the cgroup Path and below, and waits for it
	undoRmdir   = "rmdir"       // removes the cgroup Path
	undoWrite   = "write"       // writes Value to Path
	undoMove    = "move"        // writes the pid in Value, "PID STARTTIME", to the cgroup.procs Path
	undoSwapoff = "swapoff"     // switches the swap space Path off
	undoUnlink  = "unlink"      // removes the file Path
)

// errInUse is returned by [Undo] for the list of a run that is still going on.
var errInUse = errors.New("the run is still going on")

// undoSuffix ends the names of undo lists.
const undoSuffix = ".undo.json"

// undoList is what has to be put back, on disk before the first change is made.
// It is locked as long as its run lives, so that nobody cleans up under it.
type undoList struct {
	file *os.File
	list []plan.Undo
}

// writeUndo puts the list on disk and does not return before it is there.
func writeUndo(dir, base string, list []plan.Undo) (*undoList, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("undo list: %w", err)
	}
	name := filepath.Join(dir, base+undoSuffix)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("undo list: %s is left from an earlier run; oomlab clean puts back what it lists", name)
	}
	if err != nil {
		return nil, fmt.Errorf("undo list: %w", err)
	}
	fail := func(err error) (*undoList, error) {
		f.Close()
		os.Remove(name)
		return nil, fmt.Errorf("undo list: %s: %w", name, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fail(fmt.Errorf("lock: %w", err))
	}
	data, err := json.MarshalIndent(list, "", "\t")
	if err != nil {
		return fail(err)
	}
	if _, err := f.Write(append(data, '\n')); err != nil {
		return fail(err)
	}
	if err := f.Sync(); err != nil {
		return fail(err)
	}
	if err := syncDir(dir); err != nil {
		return fail(err)
	}
	return &undoList{file: f, list: list}, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// undo puts everything back, last change first, and removes the list when all
// of it is done. What could not be put back stays on the list for oomlab clean.
func (u *undoList) undo() error {
	return u.undoSaying(nobody)
}

func (u *undoList) undoSaying(say func(string)) error {
	err := replay(u.list, say)
	if err == nil {
		err = os.Remove(u.file.Name())
	}
	return errors.Join(err, u.file.Close())
}

// Pending lists the undo lists that runs have left in a scratch directory,
// those of runs that are still going on included.
func Pending(scratchDir string) ([]string, error) {
	entries, err := os.ReadDir(scratchDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), undoSuffix) {
			out = append(out, filepath.Join(scratchDir, e.Name()))
		}
	}
	return out, nil
}

// Undo puts back what a run that was killed has left, and removes its list
// when all of it is done. It may be repeated. Everything is tried, and the
// error joins what could not be put back; it is [errInUse] if the run is still
// going on, and nothing was touched then. say is told whom it waits for.
func Undo(path string, say func(string)) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := lockSoon(f); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("%s: %w", path, errInUse)
		}
		return fmt.Errorf("%s: lock: %w", path, err)
	}
	u := &undoList{file: f}
	if err := json.NewDecoder(f).Decode(&u.list); err != nil {
		f.Close()
		return fmt.Errorf("%s: not an undo list: %w", path, err)
	}
	return u.undoSaying(say)
}

// patience is how long processes that were killed may take to end before somebody
// is told, and how long the lock of one that is dying is waited for. Tests shorten it.
var patience = time.Second

// nobody is who is told what nobody waits to hear.
func nobody(string) {}

// lockSoon locks a file. A process that was killed holds its locks until it has ended.
func lockSoon(f *os.File) error {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		select {
		case <-again.C:
		case <-deadline.C:
			return err
		}
	}
}

func replay(list []plan.Undo, say func(string)) error {
	var errs []error
	for _, u := range slices.Backward(list) {
		if err := putBack(u, say); err != nil {
			errs = append(errs, fmt.Errorf("put back: %s: %w", u.Op, err))
		}
	}
	return errors.Join(errs...)
}

func putBack(u plan.Undo, say func(string)) error {
	err := func() error {
		switch u.Op {
		case undoKill:
			return killCgroup(u.Path, say)
		case undoRmdir:
			return removeCgroup(u.Path, say)
		case undoWrite:
			return writeFile(u.Path, u.Value)
		case undoMove:
			return moveBack(u.Path, u.Value)
		case undoSwapoff:
			if err := swapoff(u.Path); !errors.Is(err, unix.EINVAL) { // EINVAL: it is not on
				return err
			}
			return nil
		case undoUnlink:
			return os.Remove(u.Path)
		}
		return fmt.Errorf("unknown operation on %s; the list is from another version of oomlab", u.Path)
	}()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil // already gone
	}
	return err
}

// moveBack moves a process back to the cgroup it came from, if it is still the
// same process.
func moveBack(procs, value string) error {
	pidText, start, _ := strings.Cut(value, " ")
	pid, err := strconv.Atoi(pidText)
	if err != nil {
		return fmt.Errorf("%s: %q is not a pid and a start time", procs, value)
	}
	if now, err := startTime(pid); err != nil || now != start {
		return nil // it has ended; the number may be another one's by now
	}
	return writeFile(procs, pidText)
}

// startTime is field 22 of /proc/PID/stat as text, which tells a process from
// a later one with the same pid.
func startTime(pid int) (string, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", err
	}
	// comm may hold anything, parentheses and spaces included
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat has %d fields after the name", pid, len(fields))
	}
	return fields[19], nil
}

// writeFile writes a value to a kernel file in one write. The error names the
// file, the value and what the kernel said.
//
// It does without package os, which opens whatever can be polled with
// O_NONBLOCK, and files of cgroupfs can. Since 6.16 that means "neither reclaim
// nor kill": a limit below the usage would be set, and nothing would happen
// (memory_max_write() in mm/memcontrol.c).
func writeFile(path, value string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	for {
		_, err = unix.Write(fd, []byte(value))
		if err != unix.EINTR {
			break
		}
	}
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("write %q to %s: %w", value, path, err)
	}
	return nil
}
