package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/oomlab/oomlab/harness/host"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
)

// State is a VM cluster that a process of oomlab's keeps in the background.
type State struct {
	PID     int          `json:"pid"`   // of the keeper, whose child QEMU is
	Start   string       `json:"start"` // when that started, so that a recycled pid is not taken for it
	Address string       `json:"address"`
	Until   time.Time    `json:"until"` // when it ends by itself
	Version string       `json:"version"`
	Kernel  string       `json:"kernel"`
	Memory  kernel.Bytes `json:"memory"` // of each node
	Nodes   []string     `json:"nodes"`
}

// ErrDown says that no cluster is up.
var ErrDown = errors.New("no VM cluster is up; oomlab cluster up starts one")

// stateDir holds the state, the kubeconfig and the keeper's log.
func stateDir() (string, error) {
	root, err := cache.Root()
	return filepath.Join(root, "cluster"), err
}

// StateFile is one of the files of the cluster in the background: state.json,
// kubeconfig, log.txt.
func StateFile(name string) (string, error) {
	dir, err := stateDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, name), nil
}

// Up is the state of the cluster in the background; ErrDown when there is none.
// What a keeper left that was killed is no cluster.
func Up() (State, error) {
	var s State
	file, err := StateFile(stateFile)
	if err != nil {
		return s, err
	}
	err = cache.ReadJSON(file, &s)
	if errors.Is(err, os.ErrNotExist) {
		return s, ErrDown
	}
	if err != nil {
		return s, fmt.Errorf("%w: %w", ErrDown, err) // damaged: a new cluster replaces it
	}
	if start, err := startTime(s.PID); err != nil || start != s.Start {
		return s, ErrDown
	}
	return s, nil
}

// startTime is when a process started, in the kernel's words: field 22 of
// /proc/PID/stat, proc(5).
func startTime(pid int) (string, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", err
	}
	rest := text[bytes.LastIndexByte(text, ')')+1:]
	fields := strings.Fields(string(rest))
	const at = 22 - 3
	if len(fields) <= at {
		return "", fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	return fields[at], nil
}

// Keep restores a cluster and keeps it until ctx ends, the time is up, or QEMU
// ends. Its state and its kubeconfig are there as soon as it is ready, and gone
// when it is over.
func Keep(ctx context.Context, c *VMCluster, kernelRelease string, lifetime time.Duration) (err error) {
	r, err := c.Start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	s := State{
		PID: os.Getpid(), Address: r.Address(), Until: time.Now().Add(lifetime).Truncate(time.Second),
		Version: c.version, Kernel: kernelRelease, Memory: c.memory, Nodes: c.nodes(),
	}
	if s.Start, err = startTime(s.PID); err != nil {
		return err
	}
	config, err := c.Kubeconfig(ctx, r.Address())
	if err != nil {
		return err
	}
	state, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	forget, err := remember(ctx, config, state)
	if err != nil {
		return err
	}
	defer forget()
	timer := time.NewTimer(lifetime)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-timer.C:
		return nil
	case <-r.Lost():
		return errors.New("QEMU ended")
	}
}

// remember writes the files that tell others of the cluster, and returns what removes
// them.
func remember(ctx context.Context, config, state []byte) (forget func(), err error) {
	unlock, err := lockState(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var names []string
	forget = func() {
		for _, name := range names {
			os.Remove(name)
		}
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{kubeconfigFile, config}, {stateFile, state}} {
		name, err := StateFile(f.name)
		if err == nil {
			names = append(names, name)
			err = cache.Write(name, f.data)
		}
		if err != nil {
			forget()
			return nil, err
		}
	}
	return forget, nil
}

const (
	stateFile      = "state.json"
	kubeconfigFile = "kubeconfig"
)

// lockState has no keeper write its files, and nobody remove them, until unlock.
func lockState(ctx context.Context) (unlock func(), err error) {
	name, err := StateFile(".lock")
	if err != nil {
		return nil, err
	}
	return cache.Lock(ctx, name)
}

// RemoveStale removes what a keeper has left that was killed: its state and the
// credentials of its cluster, which is gone. It says what it removed.
func RemoveStale(ctx context.Context) (removed []string, err error) {
	dir, err := stateDir()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	unlock, err := lockState(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if _, err := Up(); !errors.Is(err, ErrDown) {
		return nil, err
	}
	var errs []error
	for _, name := range []string{stateFile, kubeconfigFile} {
		name := filepath.Join(dir, name)
		switch err := os.Remove(name); {
		case err == nil:
			removed = append(removed, name)
		case !errors.Is(err, os.ErrNotExist):
			errs = append(errs, err)
		}
	}
	return removed, errors.Join(errs...)
}

// upWait is for a keeper to have its cluster ready.
const upWait = 3 * time.Minute

// Start starts the keeper, a program that calls [Keep], in the background, and
// waits until its cluster is ready.
func Start(ctx context.Context, argv []string) (State, error) {
	name, err := StateFile("log.txt")
	if err != nil {
		return State{}, err
	}
	log, err := cache.Create(name)
	if err != nil {
		return State{}, err
	}
	defer log.Close()
	keeper := exec.Command(argv[0], argv[1:]...)
	keeper.Stdout, keeper.Stderr = log, log
	keeper.SysProcAttr = host.OutlivesUs() // it outlives this command, and its terminal
	if err := keeper.Start(); err != nil {
		return State{}, err
	}
	ended := make(chan error, 1)
	go func() { ended <- keeper.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, upWait)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if s, err := Up(); err == nil && s.PID == keeper.Process.Pid {
			return s, nil
		}
		select {
		case <-tick.C:
		case <-ended:
			text, err := os.ReadFile(name)
			return State{}, errors.Join(fmt.Errorf("the cluster did not come up: %s", text), err)
		case <-ctx.Done():
			return State{}, errors.Join(fmt.Errorf("the cluster did not come up: %w", ctx.Err()),
				keeper.Process.Signal(syscall.SIGTERM))
		}
	}
}

// downWait is for a keeper to end its QEMU.
const downWait = 20 * time.Second

// Down ends the cluster in the background, and returns when it is gone.
func Down(ctx context.Context) (State, error) {
	s, err := Up()
	if err != nil {
		return s, err
	}
	keeper, err := os.FindProcess(s.PID)
	if err == nil {
		err = keeper.Signal(syscall.SIGTERM)
	}
	if err != nil {
		return s, fmt.Errorf("end the cluster's keeper, pid %d: %w", s.PID, err)
	}
	return s, await(ctx, downWait, "the cluster's keeper to end", func(context.Context) error {
		if start, err := startTime(s.PID); err == nil && start == s.Start {
			return fmt.Errorf("pid %d still runs", s.PID)
		}
		return nil
	})
}
