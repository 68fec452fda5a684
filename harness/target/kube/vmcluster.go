package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target"
	"github.com/oomlab/oomlab/harness/target/kube/image"
	"github.com/oomlab/oomlab/harness/target/vm"
	"github.com/oomlab/oomlab/harness/target/vm/initramfs"
	"github.com/oomlab/oomlab/harness/target/vm/kernels"
)

// VMOptions describe a cluster in VMs.
type VMOptions struct {
	Kernel          kernels.Kernel
	Memory          kernel.Bytes // of each node; 0: 4Gi
	Node            scenario.Node
	Worker          bool // a second node beside the one with the API server
	Container       bool // the nodes are containers in their VMs, as kind's are on a machine
	Agent, Stressor []byte
	RunDir          string       // of the console; empty: a temporary directory
	Log             func(string) // may be nil
}

// guestModules are what a node needs of its kernel beside a bare guest.
var guestModules = []string{"virtio_pci", "virtio_blk", "virtio_net",
	"overlay", "ext4", "veth", "br_netfilter", "nf_conntrack"}

// VMCluster is a real API server and a real kubelet in a VM of oomlab's own. It
// boots once for each node configuration, and is restored from then on.
type VMCluster struct {
	vm      *vm.VM
	worker  *vm.VM // nil: there is one node
	image   image.Image
	images  image.Images
	memory  kernel.Bytes
	version string // of Kubernetes
	kind    string // node of a cluster of kind's; empty: it is none
}

// OpenVM gets everything ready that needs no QEMU to run.
func OpenVM(ctx context.Context, o VMOptions) (*VMCluster, error) {
	img, err := image.Open("")
	if errors.Is(err, image.ErrMissing) {
		return nil, &target.Missing{What: "a node image", Hint: err.Error()}
	}
	if err != nil {
		return nil, err
	}
	if what := unsettable(o.Node); what != "" {
		return nil, &target.Missing{What: "another cluster for " + what,
			Hint: "use a cluster of kind, see kind-config/"}
	}
	c := &VMCluster{image: img, images: image.NameImages(o.Agent, o.Stressor), memory: memoryOf(o.Memory),
		version: img.Version}
	config, err := kubeletConfig(o.Node, o.Container)
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	if err := image.WriteImages(&archive, o.Agent, o.Stressor); err != nil {
		return nil, err
	}
	files := []initramfs.File{
		initramfs.Regular(kubeletFile, config, false),
		initramfs.Regular(containerdFile, containerdConfig(c.images), false),
		initramfs.Regular(imagesFile, archive.Bytes(), false),
	}
	container := ""
	if o.Container {
		container = nodeContainer
	}
	machine := vm.Options{
		// One processor, whose time QEMU counts in instructions. With two, a host
		// that is busy had a node take its clock for thirty times as fast as it
		// was ("tsc: Detected 87 MHz processor"), and every timeout with it.
		Kernel: o.Kernel, Memory: c.memory, CPUs: 1, Agent: o.Agent, Stressor: o.Stressor,
		Disk: img.Disk(), DiskSum: img.DiskSum,
		Modules: guestModules, Words: []string{"oomlab.node=1"}, BootWait: bootWait,
		News: nodeNews, RunDir: o.RunDir, Log: o.Log,
	}
	node := machine
	node.Port = image.APIPort
	if o.Worker {
		node.Link = nodeMAC
		worker := machine
		worker.Link = workerMAC
		if worker.RunDir != "" {
			worker.RunDir = filepath.Join(o.RunDir, "worker")
		}
		if c.worker, err = open(ctx, worker, workerBoot(o.Node, container), files); err != nil {
			return nil, err
		}
	}
	if c.vm, err = open(ctx, node, nodeBoot(o.Node, container, o.Worker), files); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// nodeNews are the steps of a node's boot that are done, see package guest.
var nodeNews = regexp.MustCompile(`^oomlab-agent: +[0-9.]+ s `)

// The ends of the cable between two nodes.
const (
	nodeMAC   = "52:54:00:00:4e:01"
	workerMAC = "52:54:00:00:4e:02"
)

// open is vm.Open of a machine that is booted as said.
func open(ctx context.Context, o vm.Options, b wire.Boot, files []initramfs.File) (*vm.VM, error) {
	boot, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	o.Files = append(slices.Clone(files), initramfs.Regular(wire.BootFile, boot, false))
	return vm.Open(ctx, o)
}

// Hello is what the node's agent said when the snapshot was made. The first one
// boots the node, which takes minutes where there is no KVM.
func (c *VMCluster) Hello(ctx context.Context) (wire.Hello, error) {
	if c.worker != nil {
		if _, err := c.worker.Hello(ctx); err != nil {
			return wire.Hello{}, err
		}
	}
	return c.vm.Hello(ctx)
}

// Running is a cluster that was restored.
type Running struct {
	*vm.Guest // the node with the API server
	Config    *rest.Config
	worker    *vm.Guest // may be nil
}

// Lost is closed when one of the nodes' QEMUs has ended.
func (r *Running) Lost() <-chan struct{} {
	if r.worker == nil {
		return r.Done()
	}
	lost := make(chan struct{})
	go func() {
		defer close(lost)
		select {
		case <-r.Done():
		case <-r.worker.Done():
		}
	}()
	return lost
}

// Close ends the nodes.
func (r *Running) Close() error {
	if r.worker == nil {
		return r.Guest.Close()
	}
	return errors.Join(r.worker.Close(), r.Guest.Close())
}

// Start restores the cluster. Its clocks are set, its API is ready and so are its
// nodes.
func (c *VMCluster) Start(ctx context.Context) (_ *Running, err error) {
	r := &Running{}
	wait := restoreWait
	if c.worker != nil {
		near, far, err := vm.Cable()
		if err != nil {
			return nil, err
		}
		defer near.Close() // the nodes have ends of their own by then
		defer far.Close()
		c.vm.Plug(near)
		c.worker.Plug(far)
		wait = joinWait
	}
	if r.Guest, err = c.vm.Start(ctx); err != nil {
		return nil, err
	}
	if c.worker != nil {
		if r.worker, err = c.worker.Start(ctx); err != nil {
			return nil, errors.Join(err, r.Guest.Close())
		}
	}
	if r.Config, err = c.restConfig(ctx, r.Address()); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if err := awaitReady(ctx, r.Config, wait, c.nodes()); err != nil {
		return nil, errors.Join(fmt.Errorf("the restored cluster: %w", err), r.Close())
	}
	return r, nil
}

// nodes are their names.
func (c *VMCluster) nodes() []string {
	if c.kind != "" {
		return []string{c.kind}
	}
	if c.worker != nil {
		return []string{image.NodeName, image.WorkerName}
	}
	return []string{image.NodeName}
}

// restoreWait is how long a restored API server may take to answer.
const restoreWait = 60 * time.Second

// joinWait is how long the kubelet of a second node may take to have joined.
const joinWait = 2 * time.Minute

func (c *VMCluster) restConfig(ctx context.Context, address string) (*rest.Config, error) {
	raw, err := c.Kubeconfig(ctx, address)
	if err != nil {
		return nil, err
	}
	return clientcmd.RESTConfigFromKubeConfig(raw)
}

// Kubeconfig is a kubeconfig for the administrator, complete in itself.
func (c *VMCluster) Kubeconfig(ctx context.Context, address string) ([]byte, error) {
	if c.kind != "" {
		return c.kindKubeconfig(ctx, address)
	}
	ca, cert, key, err := c.image.PKI()
	if err != nil {
		return nil, err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["oomlab"] = &clientcmdapi.Cluster{Server: "https://" + address, CertificateAuthorityData: ca}
	config.AuthInfos["oomlab"] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	config.Contexts["oomlab"] = &clientcmdapi.Context{Cluster: "oomlab", AuthInfo: "oomlab", Namespace: image.Namespace}
	config.CurrentContext = "oomlab"
	return clientcmd.Write(*config)
}

// Artifacts are the consoles, by the names they get in a run directory.
func (c *VMCluster) Artifacts() map[string]string { return c.vm.Artifacts() }

// Close ends nothing that was started; it removes what was made for it.
func (c *VMCluster) Close() error {
	var errs []error
	for _, v := range []*vm.VM{c.vm, c.worker} {
		if v != nil {
			errs = append(errs, v.Close())
		}
	}
	return errors.Join(errs...)
}
