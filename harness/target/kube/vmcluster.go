package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// VMOptions describe a cluster of one node in a VM.
type VMOptions struct {
	Kernel          kernels.Kernel
	Memory          kernel.Bytes // 0: 4Gi
	Node            scenario.Node
	Agent, Stressor []byte
	RunDir          string       // of the console; empty: a temporary directory
	CacheLimit      kernel.Bytes // of all snapshots together; 0: 12Gi
	Log             func(string) // may be nil
}

// A node's snapshot takes about 1.5Gi.
const defaultCacheLimit = 12 * kernel.GiB

// guestModules are what a node needs of its kernel beside a bare guest.
var guestModules = []string{"virtio_pci", "virtio_blk", "virtio_net", "overlay", "ext4", "veth", "br_netfilter", "nf_conntrack"}

// VMCluster is a real API server and a real kubelet in a VM of oomlab's own. It
// boots once for each node configuration, and is restored from then on.
type VMCluster struct {
	vm     *vm.VM
	image  image.Image
	images image.Images
	memory kernel.Bytes
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
		return nil, &target.Missing{What: "another cluster for " + what, Hint: "use a cluster of kind, see kind-config/"}
	}
	c := &VMCluster{image: img, images: image.NameImages(o.Agent, o.Stressor), memory: memoryOf(o.Memory)}
	boot, err := json.Marshal(bootSteps(o.Node, c.images))
	if err != nil {
		return nil, err
	}
	config, err := kubeletConfig(o.Node)
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	if err := image.WriteImages(&archive, o.Agent, o.Stressor); err != nil {
		return nil, err
	}
	if o.CacheLimit == 0 {
		o.CacheLimit = defaultCacheLimit
	}
	c.vm, err = vm.Open(ctx, vm.Options{
		// One processor, whose time QEMU counts in instructions. With two, a host
		// that is busy had a node take its clock for thirty times as fast as it
		// was ("tsc: Detected 87 MHz processor"), and every timeout with it.
		Kernel: o.Kernel, Memory: c.memory, CPUs: 1, Agent: o.Agent, Stressor: o.Stressor,
		Disk: img.Disk(), DiskSum: img.Sum, Port: image.APIPort,
		Files: []initramfs.File{
			initramfs.Regular(wire.BootFile, boot, false),
			initramfs.Regular(kubeletFile, config, false),
			initramfs.Regular(containerdFile, containerdConfig(c.images), false),
			initramfs.Regular(imagesFile, archive.Bytes(), false),
		},
		Modules: guestModules, Words: []string{"oomlab.node=1"}, BootWait: bootWait,
		RunDir: o.RunDir, CacheLimit: o.CacheLimit, Log: o.Log,
	})
	return c, err
}

// Hello is what the node's agent said when the snapshot was made. The first one
// boots the node, which takes minutes where there is no KVM.
func (c *VMCluster) Hello(ctx context.Context) (wire.Hello, error) { return c.vm.Hello(ctx) }

// Running is a cluster that was restored.
type Running struct {
	*vm.Guest
	Config *rest.Config
}

// Start restores the cluster. Its clock is set, and its API is ready.
func (c *VMCluster) Start(ctx context.Context) (*Running, error) {
	g, err := c.vm.Start(ctx)
	if err != nil {
		return nil, err
	}
	r := &Running{Guest: g}
	if r.Config, err = c.restConfig(g.Address()); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	if err := awaitReady(ctx, r.Config, restoreWait); err != nil {
		return nil, errors.Join(fmt.Errorf("the restored cluster: %w", err), g.Close())
	}
	return r, nil
}

// restoreWait is how long a restored API server may take to answer.
const restoreWait = 60 * time.Second

func (c *VMCluster) restConfig(address string) (*rest.Config, error) {
	raw, err := c.Kubeconfig(address)
	if err != nil {
		return nil, err
	}
	return clientcmd.RESTConfigFromKubeConfig(raw)
}

// Kubeconfig is a kubeconfig for the administrator, complete in itself.
func (c *VMCluster) Kubeconfig(address string) ([]byte, error) {
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
func (c *VMCluster) Close() error { return c.vm.Close() }
