module github.com/oomlab/oomlab/harness/oomlog/cadvisor

go 1.26.0

require (
	github.com/euank/go-kmsg-parser v2.0.0+incompatible
	github.com/google/cadvisor v0.60.6
	github.com/oomlab/oomlab v0.0.0
	k8s.io/klog/v2 v2.140.0
)

require github.com/go-logr/logr v1.4.3 // indirect

replace github.com/oomlab/oomlab => ../../..
