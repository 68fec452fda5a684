package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/lab"
	"github.com/oomlab/oomlab/harness/payload"
	"github.com/oomlab/oomlab/harness/target/kube"
	"github.com/oomlab/oomlab/harness/target/kube/image"
	"github.com/oomlab/oomlab/harness/target/vm/kernels"
)

// clusterFlags describe the cluster in the background.
type clusterFlags struct {
	kernel, memory string
	kind           string
	nodes          int
	container      bool
	lifetime       time.Duration
}

func (a *app) clusterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "a real kubelet and API server in a VM: up, down, status, kubeconfig, load",
		Long: `A real kubelet and a real API server in a VM, for kubectl and for scenarios with
pods. It boots once; afterwards it is restored from a snapshot within seconds. It
listens on this machine's loopback only. It has one node or two, no scheduler and
no controllers: a pod must set nodeName: ` + image.NodeName + ` and hostNetwork: true.

Each run of oomlab run kube/... restores its own cluster; it does not use this
one.`,
		Example: `  make node-image
  oomlab cluster up
  kubectl --kubeconfig <(oomlab cluster kubeconfig) get nodes
  oomlab cluster down
  oomlab cluster up --nodes 2 --memory 2304Mi`,
	}
	cmd.AddCommand(a.clusterUp(), a.clusterDown(), a.clusterStatus(), a.clusterKubeconfig(), a.clusterImages(),
		a.clusterLoad(), a.clusterImage(), a.clusterKindDisk(), a.clusterKeep())
	return cmd
}

func (f *clusterFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.kernel, "kernel", lab.NodeKernel, "`KERNEL` of the node, as oomlab run takes it")
	flags.StringVar(&f.memory, "memory", defaultClusterMemory, "`SIZE` of the node's memory")
	flags.IntVar(&f.nodes, "nodes", 1, "`N` nodes, 1 or 2")
	flags.BoolVar(&f.container, "in-container", false,
		"have each node be a container in its VM, as kind's nodes are, to test what is made for those")
	flags.StringVar(&f.kind, "kind", "",
		"a cluster of kind's in a VM, by the `FILE` of its configuration; make kind-disk first")
	flags.DurationVar(&f.lifetime, "for", 2*time.Hour, "`TIME` after which the cluster ends")
}

const defaultClusterMemory = "4Gi"

// open gets the cluster ready. Its errors say what is wrong with the flags, or
// what is lacking.
func (f *clusterFlags) open(ctx context.Context, a *app) (*kube.VMCluster, kernels.Kernel, error) {
	memory, err := kernel.ParseBytes(f.memory)
	if err != nil {
		return nil, kernels.Kernel{},
			&mistake{fmt.Sprintf("--memory: %q is not an amount of memory", f.memory), "write 4Gi"}
	}
	if f.nodes < 1 || f.nodes > 2 {
		return nil, kernels.Kernel{}, &mistake{fmt.Sprintf("--nodes %d: a VM cluster has 1 or 2", f.nodes), "write 2"}
	}
	if f.lifetime <= 0 {
		return nil, kernels.Kernel{},
			&mistake{fmt.Sprintf("--for %s is too short for a cluster", f.lifetime), "write 2h"}
	}
	o := lab.ClusterOptions{Kernel: f.kernel, Memory: memory, Nodes: f.nodes, Container: f.container, Log: a.say}
	if f.kind != "" {
		if f.nodes != 1 || f.container || f.memory != defaultClusterMemory {
			return nil, kernels.Kernel{}, &mistake{"--kind is one node, a container in a VM of its own size",
				"leave out --nodes, --memory and --in-container"}
		}
		if o.Kind, err = kube.ReadKind(f.kind); err != nil {
			return nil, kernels.Kernel{}, &mistake{fmt.Sprintf("--kind %s: %v", f.kind, err),
				"name a file such as kind-config/default.yaml"}
		}
	}
	return lab.OpenCluster(ctx, o)
}

// keep is the command that keeps the cluster.
func (f *clusterFlags) keep() []string {
	out := []string{"cluster", "keep", "--kernel", f.kernel, "--memory", f.memory, "--nodes", strconv.Itoa(f.nodes),
		"--in-container=" + strconv.FormatBool(f.container), "--for", f.lifetime.String()}
	if f.kind != "" {
		out = append(out, "--kind", f.kind)
	}
	return out
}

func (a *app) clusterUp() *cobra.Command {
	var f clusterFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "start a cluster in the background",
		Long: `Start a cluster in the background. The first time it boots, which takes minutes
without KVM; afterwards it is restored from a snapshot. It ends with oomlab
cluster down, with oomlab clean, or after --for.`,
		Args: wants(0, 0, ""),
	}
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if s, err := kube.Up(); err == nil {
			a.printState(s)
			return nil
		} else if !errors.Is(err, kube.ErrDown) {
			return err
		}
		// The boot is in the foreground, where somebody sees how it goes.
		c, _, err := f.open(cmd.Context(), a)
		if err != nil {
			return err
		}
		_, err = c.Hello(cmd.Context())
		if err := errors.Join(err, c.Close()); err != nil {
			return err
		}
		self, err := os.Executable()
		if err != nil {
			return err
		}
		s, err := kube.Start(cmd.Context(), append([]string{self}, f.keep()...))
		if err != nil {
			return err
		}
		a.printState(s)
		return nil
	}
	return cmd
}

func (a *app) printState(s kube.State) {
	file, err := kube.StateFile("kubeconfig")
	if err != nil {
		file = "(" + err.Error() + ")"
	}
	fmt.Fprintf(a.out, "up: Kubernetes %s on kernel %s, %s, at https://%s until %s\n", s.Version, s.Kernel, s.Memory,
		s.Address, s.Until.Format(time.TimeOnly))
	if len(s.Nodes) > 1 {
		fmt.Fprintf(a.out, "nodes: %s\n", strings.Join(s.Nodes, ", "))
	}
	fmt.Fprintf(a.out, "export KUBECONFIG=%s\n", file)
}

func (a *app) clusterDown() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "end the cluster in the background",
		Args:  wants(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := kube.Down(cmd.Context())
			if errors.Is(err, kube.ErrDown) {
				fmt.Fprintln(a.out, "no VM cluster is up")
				return nil
			}
			if err == nil {
				fmt.Fprintf(a.out, "down: the cluster at https://%s\n", s.Address)
			}
			return err
		},
	}
}

func (a *app) clusterStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "say whether a cluster is up; exit status 1 when none is",
		Args:  wants(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := kube.Up()
			if err == nil {
				a.printState(s)
				return nil
			}
			if !errors.Is(err, kube.ErrDown) {
				return err
			}
			fmt.Fprintln(a.out, "no VM cluster is up")
			if i, err := image.Open(""); err != nil {
				fmt.Fprintln(a.out, err)
			} else {
				fmt.Fprintf(a.out, "node image: Kubernetes %s, made %s\n", i.Version, i.Made.Format(time.DateOnly))
			}
			if k, err := image.OpenKind(""); err != nil {
				fmt.Fprintln(a.out, err)
			} else {
				fmt.Fprintf(a.out, "disk with kind: Kubernetes %s, made %s\n", k.Version, k.Made.Format(time.DateOnly))
			}
			return done(exitFail)
		},
	}
}

func (a *app) clusterKubeconfig() *cobra.Command {
	return &cobra.Command{
		Use:   "kubeconfig",
		Short: "print the kubeconfig of the cluster in the background",
		Args:  wants(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := kube.Up(); errors.Is(err, kube.ErrDown) {
				return &mistake{"no VM cluster is up", "oomlab cluster up starts one"}
			} else if err != nil {
				return err
			}
			name, err := kube.StateFile("kubeconfig")
			if err != nil {
				return err
			}
			data, err := os.ReadFile(name)
			if err == nil {
				_, err = a.out.Write(data)
			}
			return err
		},
	}
}

func (a *app) clusterImages() *cobra.Command {
	var traces bool
	var name string
	cmd := &cobra.Command{
		Use:   "images FILE",
		Short: "write oomlab's container images to an archive that a cluster can load",
		Long: `Write oomlab's container images to an archive. No registry has them: load the
archive into the cluster that will run scenarios.

  kind load image-archive FILE
  ctr --namespace k8s.io images import FILE    (on a node)

With --trace the archive has the image of docs/tracing/daemonset.yaml instead: this
program alone, which watches each node of a cluster.`,
		Args: wants(1, 1, "the file to write"),
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&traces, "trace", false, "write the image that runs oomlab trace on each node")
	cmd.Flags().StringVar(&name, "name", image.TraceImage, "with --trace: the `NAME` of the image")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("name") && !traces {
			return &mistake{"--name is for --trace", "the other images are named after what is in them"}
		}
		if traces {
			if err := image.CheckName(name); err != nil {
				return &mistake{fmt.Sprintf("--name %s", err), "for example --name registry.example/oomlab:1"}
			}
			return a.writeImages(args[0], name, func(w io.Writer) error {
				self, err := os.Executable()
				if err != nil {
					return err
				}
				program, err := os.ReadFile(self)
				if err != nil {
					return err
				}
				return image.WriteTraceImage(w, program, name)
			})
		}
		agent, stressor, err := payload.Load()
		if err != nil {
			return err
		}
		n := image.NameImages(agent, stressor)
		return a.writeImages(args[0], n.Stressor+" "+n.Agent, func(w io.Writer) error {
			return image.WriteImages(w, agent, stressor)
		})
	}
	return cmd
}

func (a *app) clusterLoad() *cobra.Command {
	return &cobra.Command{
		Use:   "load FILE",
		Short: "load container images into the cluster in the background",
		Long: `Load the images of an archive into every node of the cluster in the background, as
docker save, podman save and oomlab cluster images --trace write it. No registry
is asked: pods that use the images need imagePullPolicy: IfNotPresent. They are
gone with the cluster.`,
		Example: `  oomlab cluster images --trace oomlab.tar
  oomlab cluster load oomlab.tar
  kubectl apply -f docs/tracing/daemonset.yaml`,
		Args: wants(1, 1, "the archive"),
		RunE: func(cmd *cobra.Command, args []string) error {
			names, err := image.ReadArchive(args[0])
			if err != nil {
				return &mistake{fmt.Sprintf("%s: %v", args[0], err), "docker save -o FILE IMAGE writes one"}
			}
			s, err := kube.Up()
			if errors.Is(err, kube.ErrDown) {
				return &mistake{"no VM cluster is up", "oomlab cluster up starts one"}
			} else if err != nil {
				return err
			}
			for _, node := range s.Nodes {
				if err := loadInto(cmd.Context(), node, args[0]); err != nil {
					return err
				}
				fmt.Fprintf(a.out, "%s: %s\n", node, strings.Join(names, " "))
			}
			return nil
		},
	}
}

// loadInto has a node of the cluster in the background import an archive.
func loadInto(ctx context.Context, node, file string) error {
	config, err := kube.StateFile("kubeconfig")
	if err != nil {
		return err
	}
	agent, stressor, err := payload.Load()
	if err != nil {
		return err
	}
	c, err := kube.Connect(kube.Where{Kubeconfig: config}, agent, stressor)
	if err != nil {
		return err
	}
	f, err := image.OpenArchive(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return errors.Join(c.Load(ctx, node, f), c.Close())
}

// writeImages writes an archive, or leaves no file, and says which images are in it.
func (a *app) writeImages(file, names string, write func(io.Writer) error) error {
	f, err := os.Create(file)
	if err != nil {
		return &mistake{err.Error(), ""}
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		if info, err := os.Lstat(file); err == nil && info.Mode().IsRegular() {
			_ = os.Remove(file) // what went wrong first is what is told
		}
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s: %s\n", file, names)
	return err
}

// clusterImage is what make node-image calls.
func (a *app) clusterImage() *cobra.Command {
	var o image.Options
	cmd := &cobra.Command{
		Use:    "image",
		Short:  "make the node image of a kubelet and an API server; make node-image builds both",
		Hidden: true,
		Args:   wants(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Kubelet == "" || o.APIServer == "" || o.Version == "" {
				return &mistake{"--kubelet, --apiserver and --version are all needed", "make node-image"}
			}
			o.Progress = a.say
			i, err := image.Make(cmd.Context(), o)
			if err == nil {
				fmt.Fprintf(a.out, "node image: Kubernetes %s in %s\n", i.Version, i.Dir)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&o.Kubelet, "kubelet", "", "the kubelet's `FILE`")
	cmd.Flags().StringVar(&o.APIServer, "apiserver", "", "the API server's `FILE`")
	cmd.Flags().StringVar(&o.Version, "version", "", "`VERSION` of both")
	return cmd
}

// clusterKindDisk is what make kind-disk calls.
func (a *app) clusterKindDisk() *cobra.Command {
	var version, packages string
	cmd := &cobra.Command{
		Use:    "kind-disk DISK",
		Short:  "keep a disk with kind, get the packages for it, or print where it is kept",
		Hidden: true,
		Args:   wants(0, 1, "the disk"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if packages != "" {
				return image.GetKindPackages(cmd.Context(), packages, a.say)
			}
			if len(args) == 0 && version == "" {
				dir, err := image.Home()
				if err == nil {
					_, err = fmt.Fprintln(a.out, dir)
				}
				return err
			}
			if version == "" || len(args) == 0 {
				return &mistake{"a disk and --version are needed", "make kind-disk"}
			}
			k, err := image.KeepKind(cmd.Context(), "", args[0], version)
			if err == nil {
				fmt.Fprintf(a.out, "disk with kind: Kubernetes %s in %s\n", k.Version, k.Dir)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&version, "version", "", "`VERSION` of Kubernetes")
	cmd.Flags().StringVar(&packages, "packages", "", "`DIR` for the packages that the disk is made of")
	return cmd
}

// clusterKeep is the process that keeps a cluster in the background.
func (a *app) clusterKeep() *cobra.Command {
	var f clusterFlags
	cmd := &cobra.Command{
		Use:    "keep",
		Short:  "be the process that keeps the cluster; oomlab cluster up starts it",
		Hidden: true,
		Args:   wants(0, 0, ""),
	}
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		c, k, err := f.open(cmd.Context(), a)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, c.Close()) }()
		return kube.Keep(cmd.Context(), c, k.Release, f.lifetime)
	}
	return cmd
}
