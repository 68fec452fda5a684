package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ServePod is the agent in a privileged pod of a cluster: it leaves the pod's
// file system for the node's, at root, and its cgroup for the root, so that
// neither a limit nor the pod's class applies to it. It removes what it put on
// the node when it ends.
func ServePod(ctx context.Context, root, stressor string, r io.Reader, w io.Writer) (err error) {
	const scratch = "/run/oomlab"
	data, err := os.ReadFile(stressor)
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Chroot(root), unix.Chdir("/")); err != nil {
		return fmt.Errorf("enter %s: %w; the pod has to be privileged", root, err)
	}
	if err := os.WriteFile("/sys/fs/cgroup/cgroup.procs", []byte("0"), 0); err != nil {
		return fmt.Errorf("leave the pod's cgroup: %w; the pod has to use the host's PID namespace", err)
	}
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return err
	}
	copied := filepath.Join(scratch, fmt.Sprintf("stressor-%d", os.Getpid()))
	defer func() { err = errors.Join(err, os.Remove(copied)) }()
	if err := os.WriteFile(copied, data, 0o755); err != nil {
		return err
	}
	a, err := New(ctx, Options{Stressor: copied, ScratchDir: scratch, Node: ContainerdNode()})
	if err != nil {
		return err
	}
	return errors.Join(a.Serve(ctx, r, w), a.Close())
}

// ContainerdNode are the options of a node whose runtime is containerd.
func ContainerdNode() *NodeOptions {
	const socket = "/run/containerd/containerd.sock"
	o := &NodeOptions{
		Bundles: "/run/containerd/io.containerd.runtime.v2.task/k8s.io",
		PodLogs: "/var/log/pods", KubeletLog: "/var/log/kubelet.log",
	}
	for _, ctr := range []string{"/usr/bin/ctr", "/usr/local/bin/ctr"} {
		if _, err := os.Stat(ctr); err == nil {
			o.Events = []string{ctr, "--address", socket, "--namespace", "k8s.io", "events"}
			break
		}
	}
	return o
}
