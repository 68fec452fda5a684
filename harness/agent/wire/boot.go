package wire

// BootFile is where the initramfs of a node's machine has its Boot.
const BootFile = "/oomlab/boot.json"

// KubeletCgroup is what the kubelet of a node that is a container has for its root, as
// in kind's nodes.
const KubeletCgroup = "/kubelet"

// Boot is what the agent, being PID 1, makes of a machine before it says Hello:
// a node with its daemons, from a disk that holds their files.
type Boot struct {
	Hostname string `json:"hostname"`
	// Address is the network card's, Gateway where everything else is; the
	// daemons want a default route, though nothing is there.
	Address string `json:"address"` // 10.0.2.15/24
	Gateway string `json:"gateway"`
	// Link is the address of a second card; empty: there is none.
	Link string `json:"link,omitempty"`
	// Swap is the size of a file on the disk that is swapped to; 0: none.
	Swap int64 `json:"swap,omitempty"`
	// Protected is the memory.min of all daemons together: what they keep however
	// short memory is.
	Protected int64 `json:"protected,omitempty"`
	// Container is a cgroup: the daemons and the agent live in a container there, with
	// pid, mount and cgroup namespaces of their own; empty: the node is the machine.
	Container string     `json:"container,omitempty"`
	Steps     []BootStep `json:"steps"` // in this order
}

// BootStep is one step. Exactly one of Daemon, Run, Request and Socket is set.
type BootStep struct {
	Name string `json:"name"`
	// Daemon is a program that stays, in a cgroup of its own below system.slice
	// and with a log of its own, /var/log/NAME.log. One that ends is started
	// again.
	Daemon []string `json:"daemon,omitempty"`
	Adj    int      `json:"adj,omitempty"` // its oom_score_adj
	// Run is a program that has to end with status 0.
	Run []string `json:"run,omitempty"`
	// Request is sent until its answer is the wanted one.
	Request *BootRequest `json:"request,omitempty"`
	// Socket is awaited until somebody listens on it.
	Socket   string `json:"socket,omitempty"`
	WithinMS int64  `json:"within_ms"`
}

// BootRequest is an HTTPS request with the certificate of an administrator.
type BootRequest struct {
	Method string `json:"method"`
	URL    string `json:"url"`
	Body   string `json:"body,omitempty"`
	// Status is the wanted status, Text what the answer must contain.
	Status int    `json:"status"`
	Text   string `json:"text,omitempty"`
	// CA, Cert and Key are files on the disk.
	CA   string `json:"ca"`
	Cert string `json:"cert"`
	Key  string `json:"key"`
}
