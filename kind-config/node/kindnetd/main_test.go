package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	if err := run(dir, ""); err == nil {
		t.Error("ran without a subnet")
	}
	if err := run(dir, "10.244.0.0/16"); err != nil {
		t.Fatal(err)
	}
	const want = `{"cniVersion":"0.3.1","name":"kindnet","plugins":[{"ipMasq":false,"ipam":{"dataDir":` +
		`"/run/cni-ipam-state","ranges":[[{"subnet":"10.244.0.0/16"}]],"routes":[{"dst":"0.0.0.0/0"}],` +
		`"type":"host-local"},"mtu":1500,"type":"ptp"},{"capabilities":{"portMappings":true},"type":"portmap"}]}`
	if got, err := os.ReadFile(filepath.Join(dir, "10-kindnet.conflist")); err != nil || string(got) != want {
		t.Errorf("wrote %s, %v", got, err)
	}
}
