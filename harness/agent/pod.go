package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/probe"
)

// ServePod is the agent in a privileged pod of a cluster: it leaves the pod's
// file system for the node's, at root, and its cgroup, so that neither a limit nor
// the pod's class applies to it. It removes what it put on the node when it ends.
func ServePod(ctx context.Context, root, stressor string, r io.Reader, w io.Writer) (err error) {
	const scratch = "/run/oomlab"
	data, err := os.ReadFile(stressor)
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Chroot(root), unix.Chdir("/")); err != nil {
		return fmt.Errorf("enter %s: %w; the pod has to be privileged", root, err)
	}
	back, err := leavePod("/")
	if err != nil {
		return fmt.Errorf("leave the pod's cgroup: %w; the pod has to be privileged", err)
	}
	defer func() { err = errors.Join(err, back()) }()
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return err
	}
	programs, err := executable(scratch, "/var/lib/oomlab", "/opt/oomlab")
	if err != nil {
		return err
	}
	copied := filepath.Join(programs, fmt.Sprintf("stressor-%d", os.Getpid()))
	defer func() {
		err = errors.Join(err, os.Remove(copied))
		if programs != scratch {
			_ = os.Remove(programs) // another agent may have its stressor there
		}
	}()
	if err := os.WriteFile(copied, data, 0o755); err != nil {
		return err
	}
	a, err := New(ctx, Options{Stressor: copied, ScratchDir: scratch, Node: ContainerdNode()})
	if err != nil {
		return err
	}
	return errors.Join(a.Serve(ctx, r, w), a.Close())
}

// executable makes the first of some directories in which a program may be executed: the
// /run of a node that is a container is often mounted noexec, as Docker's --tmpfs does.
func executable(dirs ...string) (string, error) {
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			return "", fmt.Errorf("statfs %s: %w", dir, err)
		}
		if st.Flags&unix.ST_NOEXEC == 0 {
			return dir, nil
		}
		_ = os.Remove(dir) // as it was, if it is empty
	}
	return "", fmt.Errorf("no program can be executed in %s: they are mounted noexec", strings.Join(dirs, ", "))
}

// leafPrefix begins the name of the cgroup of an agent that may not be in the root.
const leafPrefix = basePrefix + "agent-"

// leavePod moves the agent to the root of the hierarchy with the memory controller.
// Where the node is a container that root is a cgroup like others and hands on its
// controllers, so that no process may be in it ("no internal processes",
// cgroup_migrate_vet_dst() of kernel/cgroup/cgroup.c): there the agent goes to a leaf
// of its own beside the node's, and back removes it. One that an agent has left which
// was killed is removed too.
func leavePod(r probe.Root) (back func() error, err error) {
	m, err := r.CgroupMount()
	if err != nil {
		return nil, err
	}
	top, home := r.Path(m.Root), r.Path(m.Root, m.Self)
	err = writeFile(filepath.Join(top, procsFile), "0")
	if !errors.Is(err, unix.EBUSY) {
		return func() error { return nil }, err
	}
	old, err := filepath.Glob(filepath.Join(top, leafPrefix+"*"))
	if err != nil {
		return nil, err
	}
	for _, dir := range old {
		_ = unix.Rmdir(dir) // EBUSY: its agent lives
	}
	leaf := filepath.Join(top, leafPrefix+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(leaf, 0o755); err != nil {
		return nil, err
	}
	back = func() error {
		members, err := readPIDs(filepath.Join(leaf, procsFile))
		for _, pid := range members { // the agent, and who reads the runtime's events
			err = errors.Join(err, writeFile(filepath.Join(home, procsFile), strconv.Itoa(pid)))
		}
		return errors.Join(err, removeCgroup(leaf, nobody))
	}
	if err := writeFile(filepath.Join(leaf, procsFile), "0"); err != nil {
		return nil, errors.Join(err, back())
	}
	return back, nil
}

// ContainerdNode are the options of a node whose runtime is containerd, of its own or
// in K3s (k3d's nodes).
func ContainerdNode() *NodeOptions {
	state := containerdState()
	o := &NodeOptions{
		Bundles: state + "/io.containerd.runtime.v2.task/k8s.io",
		PodLogs: "/var/log/pods", KubeletLog: "/var/log/kubelet.log",
	}
	if ctr := containerdClient(); ctr != nil {
		o.Events = append(ctr, "events")
	}
	return o
}

func containerdState() string {
	if _, err := os.Stat("/run/k3s/containerd"); err == nil {
		return "/run/k3s/containerd"
	}
	return "/run/containerd"
}

// containerdClient begins a command to the containerd of a node; nil: the node has no ctr.
func containerdClient() []string {
	for _, ctr := range []string{"/usr/bin/ctr", "/usr/local/bin/ctr", "/bin/ctr"} {
		if _, err := os.Stat(ctr); err == nil {
			return []string{ctr, "--address", containerdState() + "/containerd.sock", "--namespace", "k8s.io"}
		}
	}
	return nil
}

// Import becomes the node's ctr, which has containerd take the images of an archive that is
// read from standard input. It is for a privileged pod that has the node's file system at root.
func Import(root string) error {
	if err := errors.Join(unix.Chroot(root), unix.Chdir("/")); err != nil {
		return fmt.Errorf("enter %s: %w; the pod has to be privileged", root, err)
	}
	argv := containerdClient()
	if argv == nil {
		return errors.New("the node has no ctr to import images with; is its runtime containerd?")
	}
	argv = append(argv, "images", "import", "-")
	return os.NewSyscallError("execve", unix.Exec(argv[0], argv, []string{"HOME=/root"}))
}
