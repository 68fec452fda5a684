package kernel

// The sysctls that set the size of the pool of huge pages, and by how much it may grow on
// demand (mm/hugetlb.c).
const (
	NrHugepages           = "vm.nr_hugepages"
	NrOvercommitHugepages = "vm.nr_overcommit_hugepages"
)
