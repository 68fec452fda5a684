package kube

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target"
	"github.com/oomlab/oomlab/harness/target/kube/image"
	"github.com/oomlab/oomlab/harness/target/vm"
	"github.com/oomlab/oomlab/harness/target/vm/initramfs"
	"github.com/oomlab/oomlab/harness/target/vm/kernels"
)

// KindOptions describe a cluster of kind's in a VM.
type KindOptions struct {
	Kernel          kernels.Kernel
	Config          []byte // of kind, with one node
	Agent, Stressor []byte
	RunDir          string       // of the console; empty: a temporary directory
	Log             func(string) // may be nil
}

// kindMemory is that of the VM: what kind's documentation asks for at least, twice.
const kindMemory = 4 * kernel.GiB

// kindBootWait is how long the VM may take until kind has created the cluster. That is
// 6 minutes of an emulated processor, and this machine may have other things to do.
const kindBootWait = 60 * time.Minute

// kindModules are what Docker, kube-proxy and the plugins of the network need of the
// kernel; nothing in the guest loads modules.
var kindModules = []string{"virtio_pci", "virtio_blk", "virtio_net", "ext4", "overlay", "veth", "bridge",
	"br_netfilter", "nf_conntrack", "nf_conntrack_netlink", "nf_nat", "nf_tables", "nft_compat", "nft_chain_nat",
	"nft_ct", "nft_nat", "nft_masq", "nft_redir", "nft_limit", "nft_numgen", "nft_reject_ipv4", "nft_reject_ipv6",
	"nft_fib_ipv4", "nft_fib_ipv6", "ip_tables", "iptable_nat", "iptable_filter", "iptable_mangle", "iptable_raw",
	"ip6table_nat", "ip6table_filter", "ip6table_mangle", "ip6table_raw", "ipt_REJECT", "ip_set", "xt_addrtype",
	"xt_comment", "xt_conntrack", "xt_CT", "xt_limit", "xt_mark", "xt_MASQUERADE", "xt_multiport", "xt_nat",
	"xt_recent", "xt_REDIRECT", "xt_set", "xt_statistic", "xt_tcpudp"}

// Where the guest has what it creates the cluster with.
const (
	kindFiles = "/oomlab/files" // see package guest
	kindDir   = "/root/kind/"
)

//go:embed kind.sh
var kindScript []byte

// kindNews are what kind.sh says, and each step that kind has done.
var kindNews = regexp.MustCompile(`^(kind [0-9.]+ s: |✓ )`)

// kindUnit creates the cluster while the VM boots. The agent says Hello after it.
const kindUnit = `[Unit]
Description=a cluster of kind's
Requires=docker.service
After=docker.service network.target
FailureAction=poweroff-force

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/bash ` + kindDir + `create
TimeoutStartSec=infinity
StandardOutput=append:/dev/ttyS0
StandardError=append:/dev/ttyS0
`

// kindDropIn makes the cluster a part of the boot.
const kindDropIn = `[Unit]
Requires=oomlab-kind.service
After=oomlab-kind.service
`

// kindConfig is what a configuration of kind's says that matters here. The rest is
// for kind to judge.
type kindConfig struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Name       string `yaml:"name"`
	Nodes      []struct {
		Role   string            `yaml:"role"`
		Image  string            `yaml:"image"`
		Labels map[string]string `yaml:"labels"`
	} `yaml:"nodes"`
}

const (
	kindAPI = "kind.x-k8s.io/v1alpha4"
	// kindMemoryLabel is how much memory the node is to have; kind has no field for it.
	kindMemoryLabel = "oomlab.dev/node-memory"
	// maxKindConfig is far more than a configuration takes.
	maxKindConfig = 256 << 10
	// leastKindMemory is what the pods of the control plane take, and some for others.
	leastKindMemory = 1536 * kernel.MiB
)

var (
	kindName   = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,62}$`)
	dockerSize = regexp.MustCompile(`^[1-9][0-9]{0,6}[kmg]$`)
)

// ReadKind reads a configuration of kind's for a cluster in a VM. Its error says what
// is wrong with it that kind would say after minutes of a boot, or not at all.
func ReadKind(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	config, err := io.ReadAll(io.LimitReader(f, maxKindConfig+1))
	if err != nil {
		return nil, err
	}
	c, err := parseKind(config)
	if err != nil {
		return nil, err
	}
	if disk, err := image.OpenKind(""); err == nil { // OpenKind says what is wrong with that
		return config, c.fits(disk)
	}
	return config, nil
}

func parseKind(config []byte) (kindConfig, error) {
	var c kindConfig
	if len(config) > maxKindConfig {
		return c, fmt.Errorf("more than %d bytes are no configuration of kind's", maxKindConfig)
	}
	if err := yaml.Unmarshal(config, &c); err != nil {
		return c, fmt.Errorf("it is no configuration of kind's: %w", err)
	}
	switch {
	case c.Kind != "Cluster" || c.APIVersion != kindAPI:
		return c, fmt.Errorf("it is no configuration of kind's: there is no kind: Cluster of apiVersion: %s", kindAPI)
	case !kindName.MatchString(c.Name):
		return c, errors.New("the configuration has no name for the cluster, or one that is not a DNS name")
	case len(c.Nodes) > 1:
		return c, fmt.Errorf("it has %d nodes, and a cluster of kind's in a VM has one", len(c.Nodes))
	case len(c.Nodes) == 1 && c.Nodes[0].Role != "" && c.Nodes[0].Role != "control-plane":
		return c, fmt.Errorf("its only node is of role %.40q, not control-plane", c.Nodes[0].Role)
	}
	size, ok := c.memory()
	if !ok {
		return c, nil
	}
	unit := map[byte]kernel.Bytes{'k': kernel.KiB, 'm': kernel.MiB, 'g': kernel.GiB}
	if !dockerSize.MatchString(size) {
		return c, fmt.Errorf("label %s: %.40q is not a size as 2304m", kindMemoryLabel, size)
	}
	n, err := strconv.ParseInt(size[:len(size)-1], 10, 64)
	memory := kernel.Bytes(n) * unit[size[len(size)-1]]
	if err != nil || memory < leastKindMemory || memory > kindMemory {
		return c, fmt.Errorf("label %s: %s is not between %s, which the control plane takes, and the VM's %s",
			kindMemoryLabel, size, leastKindMemory, kindMemory)
	}
	return c, nil
}

// memory is the size that the node is to have, as docker update takes it.
func (c kindConfig) memory() (size string, ok bool) {
	if len(c.Nodes) == 0 {
		return "", false
	}
	size, ok = c.Nodes[0].Labels[kindMemoryLabel]
	return size, ok
}

// fits is an error if the configuration asks for another Kubernetes than the disk's node
// image has: kind create would take that one all the same.
func (c kindConfig) fits(disk image.KindDisk) error {
	if len(c.Nodes) == 0 || c.Nodes[0].Image == "" {
		return nil
	}
	name, _, _ := strings.Cut(c.Nodes[0].Image, "@")
	if _, tag, _ := strings.Cut(name[strings.LastIndex(name, "/")+1:], ":"); tag != disk.Version {
		return fmt.Errorf("its node image is %.80q, and the one on the disk with kind is of Kubernetes %s; leave out "+
			"image", c.Nodes[0].Image, disk.Version)
	}
	return nil
}

// OpenKind gets a cluster of kind's ready: kind itself creates it, in a VM with Docker.
// That takes minutes, once for each configuration; from then on it is restored.
func OpenKind(ctx context.Context, o KindOptions) (*VMCluster, error) {
	config, err := parseKind(o.Config)
	if err != nil {
		return nil, err
	}
	disk, err := image.OpenKind("")
	if errors.Is(err, image.ErrNoKind) {
		return nil, &target.Missing{What: "a disk with kind", Hint: "make kind-disk makes one"}
	}
	if err != nil {
		return nil, err
	}
	if err := config.fits(disk); err != nil {
		return nil, err
	}
	c := &VMCluster{images: image.NameImages(o.Agent, o.Stressor), memory: kindMemory, version: disk.Version,
		kind: config.Name + "-control-plane"}
	memory, _ := config.memory()
	var archive bytes.Buffer
	if err := image.WriteImages(&archive, o.Agent, o.Stressor); err != nil {
		return nil, err
	}
	file := func(name string, data []byte) initramfs.File {
		return initramfs.Regular(kindFiles+name, data, false)
	}
	c.vm, err = vm.Open(ctx, vm.Options{
		Kernel: o.Kernel, Memory: kindMemory, CPUs: 2, Counted: true, Agent: o.Agent, Stressor: o.Stressor,
		Disk: disk.Disk(), DiskSum: disk.DiskSum, Port: image.APIPort, Modules: kindModules,
		Words:    []string{"oomlab.userland=debian", "systemd.unit=oomlab.target", "net.ifnames=0"},
		BootWait: kindBootWait, News: kindNews,
		Files: []initramfs.File{
			file(kindDir+"config.yaml", o.Config), file(kindDir+"images.tar", archive.Bytes()),
			file(kindDir+"create", kindScript), file(kindDir+"name", []byte(config.Name)),
			file(kindDir+"memory", []byte(memory)),
			file("/etc/systemd/system/oomlab-kind.service", []byte(kindUnit)),
			file("/etc/systemd/system/multi-user.target.d/oomlab-kind.conf", []byte(kindDropIn)),
		},
		RunDir: o.RunDir, Log: o.Log,
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// kindKubeconfig is the one that kind has written in the guest, with the address that
// leads there.
func (c *VMCluster) kindKubeconfig(ctx context.Context, address string) ([]byte, error) {
	hello, err := c.vm.Hello(ctx)
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.Load([]byte(hello.Files["kubeconfig"]))
	if err != nil {
		return nil, fmt.Errorf("the kubeconfig of kind: %w", err)
	}
	if len(config.Clusters) != 1 {
		return nil, fmt.Errorf("the kubeconfig of kind has %d clusters", len(config.Clusters))
	}
	for _, cluster := range config.Clusters {
		cluster.Server, cluster.TLSServerName = "https://"+address, "localhost"
	}
	return clientcmd.Write(*config)
}
