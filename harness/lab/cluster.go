package lab

import (
	"context"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/payload"
	"github.com/oomlab/oomlab/harness/target/kube"
	"github.com/oomlab/oomlab/harness/target/vm/kernels"
)

// ClusterOptions describe a VM cluster that no scenario describes.
type ClusterOptions struct {
	Kernel string // as kernels.Resolve takes it
	Memory kernel.Bytes
	Nodes  int // 1 or 2
	// Container has the nodes be containers in their VMs.
	Container bool
	Kind      []byte       // configuration of kind's, whose cluster it is; nil: oomlab's own
	Log       func(string) // is told what takes time
}

// OpenCluster gets a VM cluster ready, and says which kernel its nodes boot.
func OpenCluster(ctx context.Context, o ClusterOptions) (*kube.VMCluster, kernels.Kernel, error) {
	agent, stressor, err := payload.Load()
	if err != nil {
		return nil, kernels.Kernel{}, err
	}
	k, err := kernels.Resolve(ctx, o.Kernel, kernels.Options{Progress: o.Log})
	if err != nil {
		return nil, k, err
	}
	if o.Kind != nil {
		c, err := kube.OpenKind(ctx, kube.KindOptions{Kernel: k, Config: o.Kind, Agent: agent, Stressor: stressor,
			Log: o.Log})
		return c, k, err
	}
	c, err := kube.OpenVM(ctx, kube.VMOptions{
		Kernel: k, Memory: o.Memory, Worker: o.Nodes == 2, Container: o.Container,
		Agent: agent, Stressor: stressor, Log: o.Log,
	})
	return c, k, err
}
