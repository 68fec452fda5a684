package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/agent/wire"
)

// How the first process of a container is called, before and after it has entered it.
const (
	enterContainer = "enter-container"
	inContainer    = "in-container"
)

// Cgroups in a container, as kind's nodes have them: no process may be in the root,
// and the kubelet's pods are below a cgroup of its own.
const (
	initScope     = cgroupRoot + "/init.scope"
	agentScope    = cgroupRoot + "/agent.scope"
	kubeletCgroup = cgroupRoot + wire.KubeletCgroup
)

// contain makes a container of the node: it starts PID 1 of another pid namespace in
// the container's cgroup, which does the rest.
func (n *node) contain(b wire.Boot, channel string) error {
	cgroup := filepath.Join(cgroupRoot, b.Container)
	var above []string
	for dir := filepath.Dir(cgroup); dir != cgroupRoot; dir = filepath.Dir(dir) {
		above = append([]string{dir}, above...)
	}
	if err := handOn(above...); err != nil {
		return err
	}
	if err := os.MkdirAll(cgroup, 0o755); err != nil {
		return err
	}
	if err := protect(b, append(above, cgroup)...); err != nil {
		return err
	}
	_, ended, err := n.start([]string{"/proc/self/exe", enterContainer, channel}, cgroup, nil,
		syscall.CLONE_NEWPID|syscall.CLONE_NEWNS)
	if err != nil {
		return err
	}
	status := <-ended
	return fmt.Errorf("the node's container ended with status %d, signal %d", status.ExitStatus(), status.Signal())
}

// containerMain is the life of a container's first process.
func containerMain(stage, channel string) error {
	if stage == enterContainer {
		return enter(channel)
	}
	b, err := readBoot()
	if err != nil {
		return err
	}
	for _, dir := range []string{initScope, agentScope} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(initScope+"/cgroup.procs", []byte("0"), 0); err != nil {
		return err
	}
	if err := handOn(cgroupRoot, systemSlice, kubeletCgroup); err != nil {
		return err
	}
	return newNode().up(b, channel, agentScope)
}

// enter takes the container's cgroup for the root, mounts what has to show the
// container's own, and executes the same program again: a cgroup namespace is a
// thread's, and all others have the machine's still.
func enter(channel string) error {
	runtime.LockOSThread()
	err := errors.Join(
		unix.Unshare(unix.CLONE_NEWCGROUP),
		unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""),
		unix.Unmount(cgroupRoot, unix.MNT_DETACH),
		mount{"cgroup2", cgroupRoot, "cgroup2", ""}.mount(),
		mount{"proc", "/proc", "proc", ""}.mount(),
		unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""),
	)
	if err != nil {
		return fmt.Errorf("enter the container: %w", err)
	}
	return syscall.Exec("/proc/self/exe", []string{"oomlab-agent", inContainer, channel}, os.Environ())
}
