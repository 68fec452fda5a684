// Command kindnetd stands in for kind's network daemon, which is not published as a Go
// module. On a cluster of one node all that daemon has to do is to write the
// configuration of the network plugins; routes to other nodes, which there are none of,
// and network policies are left out.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	if err := run("/etc/cni/net.d", os.Getenv("POD_SUBNET")); err != nil {
		fmt.Fprintln(os.Stderr, "kindnetd:", err)
		os.Exit(1)
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	<-end
}

// run writes the configuration into dir. The only node may use the whole subnet.
func run(dir, subnet string) error {
	if subnet == "" {
		return fmt.Errorf("POD_SUBNET is not set")
	}
	ranges, routes := [][]map[string]string{}, []map[string]string{}
	for one := range strings.SplitSeq(subnet, ",") {
		ranges = append(ranges, []map[string]string{{"subnet": one}})
		everywhere := "0.0.0.0/0"
		if strings.Contains(one, ":") {
			everywhere = "::/0"
		}
		routes = append(routes, map[string]string{"dst": everywhere})
	}
	data, err := json.Marshal(map[string]any{
		"cniVersion": "0.3.1", "name": "kindnet",
		"plugins": []map[string]any{
			{"type": "ptp", "ipMasq": false, "mtu": 1500, "ipam": map[string]any{
				"type": "host-local", "dataDir": "/run/cni-ipam-state", "ranges": ranges, "routes": routes}},
			{"type": "portmap", "capabilities": map[string]bool{"portMappings": true}},
		},
	})
	if err != nil {
		return err
	}
	// containerd reads the directory whenever it changes
	tmp := filepath.Join(dir, ".10-kindnet.new")
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, "10-kindnet.conflist"))
}
