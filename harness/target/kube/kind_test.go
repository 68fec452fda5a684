package kube

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/target/kube/image"
)

const kindHead = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n"

func TestParseKind(t *testing.T) {
	files, err := filepath.Glob("../../../kind-config/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d configurations (%v)", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c, err := parseKind(data)
		if err != nil || !strings.HasPrefix(c.Name, "oomlab") {
			t.Errorf("%s is called %q, %v", file, c.Name, err)
		}
		if memory, ok := c.memory(); ok != strings.HasSuffix(file, "small-node.yaml") || ok && memory != "2304m" {
			t.Errorf("%s: node memory %q, %v", file, memory, ok)
		}
	}
	node := func(labels string) string {
		return kindHead + "name: a\nnodes:\n- labels: {oomlab.dev/node-memory: " + labels + "}\n"
	}
	for bad, want := range map[string]string{
		"":                                      "there is no kind: Cluster",
		"a: [\n":                                "it is no configuration of kind's: yaml: ",
		"kind: Cluster\nname: a\n":              "apiVersion: kind.x-k8s.io/v1alpha4",
		kindHead:                                "no name for the cluster",
		kindHead + "name: $(reboot)\n":          "not a DNS name",
		kindHead + "nodes:\n- name: x\n":        "no name for the cluster",
		kindHead + "name: a\nnodes: [{}, {}]\n": "it has 2 nodes",
		kindHead + "name: a\nnodes: [{role: worker}]\n": `of role "worker", not control-plane`,
		node("lots"):                            `"lots" is not a size as 2304m`,
		node("2304"):                            `"2304" is not a size as 2304m`,
		node("512m"):                            "512m is not between 1536Mi",
		node("9999999g"):                        "9999999g is not between",
		node("5g"):                              "and the VM's 4Gi",
		kindHead + strings.Repeat("#\n", 2<<20): "more than 262144 bytes",
	} {
		if _, err := parseKind([]byte(bad)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v; want %q", bad, err, want)
		}
	}
}

// TestANodeImageOfAnotherKubernetes: kind create would take the one on the disk all the
// same, and every result would be told of another Kubernetes.
func TestANodeImageOfAnotherKubernetes(t *testing.T) {
	disk := image.KindDisk{Version: "v1.36.3"}
	for name, fits := range map[string]bool{
		"":                                  true,
		"kindest/node:v1.36.3":              true,
		"kindest/node:v1.36.3@sha256:0123":  true,
		"localhost:5000/node:v1.36.3":       true,
		"kindest/node:v1.33.1":              false,
		"kindest/node:v1.33.1@sha256:0123":  false,
		"kindest/node":                      false,
		"localhost:5000/node":               false,
		"kindest/node@sha256:0123456789abc": false,
	} {
		c, err := parseKind([]byte(kindHead + "name: a\nnodes:\n- image: \"" + name + "\"\n"))
		if err != nil {
			t.Fatal(err)
		}
		err = c.fits(disk)
		if fits != (err == nil) || err != nil && !strings.Contains(err.Error(), "is of Kubernetes v1.36.3; leave out image") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// FuzzParseKind: whatever the file has, it is an error or a name that a shell script and
// a host may be given.
func FuzzParseKind(f *testing.F) {
	f.Add(kindHead + "name: a\nnodes:\n- labels: {oomlab.dev/node-memory: 2304m}\n")
	f.Add(kindHead + "name: &a [*a]\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseKind([]byte(text))
		if err != nil {
			return
		}
		if !kindName.MatchString(c.Name) || len(c.Nodes) > 1 {
			t.Errorf("%q is taken for %+v", text, c)
		}
		if size, ok := c.memory(); ok && !dockerSize.MatchString(size) {
			t.Errorf("%q has a node of %q", text, size)
		}
	})
}
