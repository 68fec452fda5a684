package check

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	"sigs.k8s.io/kind/pkg/cluster"
	"sigs.k8s.io/yaml"
	goyaml "sigs.k8s.io/yaml/goyaml.v2"
)

// names lists the files of a directory of kind-config.
func names(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files in %s (%v)", len(files), dir, err)
	}
	var out []string
	for _, f := range files {
		out = append(out, strings.TrimSuffix(filepath.Base(f), ".yaml"))
	}
	return out
}

// file reads one of them.
func file(t *testing.T, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", dir, name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// decode reads a file as kind does: strictly, into its own types.
func decode(t *testing.T, name string) v1alpha4.Cluster {
	t.Helper()
	data := file(t, ".", name)
	var c v1alpha4.Cluster
	if err := goyaml.UnmarshalStrict(data, &c); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	v1alpha4.SetDefaultsCluster(&c)
	return c
}

// kubelet is what a cluster's patches set its kubelets to.
func kubelet(t *testing.T, c v1alpha4.Cluster) kubeletconfig.KubeletConfiguration {
	t.Helper()
	var out kubeletconfig.KubeletConfiguration
	for _, patch := range c.KubeadmConfigPatches {
		if err := yaml.UnmarshalStrict([]byte(patch), &out); err != nil {
			t.Fatalf("%s: its patch: %v", c.Name, err)
		}
		if out.APIVersion != kubeletconfig.SchemeGroupVersion.String() || out.Kind != "KubeletConfiguration" {
			t.Errorf("%s patches %s %s", c.Name, out.APIVersion, out.Kind)
		}
	}
	return out
}

func TestClustersAreWhatTheyAreCalled(t *testing.T) {
	seen := map[string]string{}
	for _, name := range names(t, ".") {
		c := decode(t, name)
		if c.APIVersion != "kind.x-k8s.io/v1alpha4" || c.Kind != "Cluster" {
			t.Errorf("%s is a %s of %s", name, c.Kind, c.APIVersion)
		}
		if other := seen[c.Name]; other != "" {
			t.Errorf("%s and %s are both called %s", other, name, c.Name)
		}
		seen[c.Name] = name
		if len(c.Nodes) != 1 || c.Nodes[0].Role != v1alpha4.ControlPlaneRole ||
			c.Nodes[0].Labels["oomlab.dev/config"] != name {
			t.Errorf("%s has the nodes %+v; want one, labelled with its name", name, c.Nodes)
		}
	}
	if k := kubelet(t, decode(t, "single-process-oom-kill")); k.SingleProcessOOMKill == nil ||
		!*k.SingleProcessOOMKill {
		t.Error("single-process-oom-kill does not set it")
	}
	small := decode(t, "small-node")
	if k := kubelet(t, small); k.EvictionHard["memory.available"] != "0%" ||
		small.Nodes[0].Labels["oomlab.dev/node-memory"] == "" {
		t.Error("small-node says neither how small it is, nor that nobody is evicted")
	}
	driver := decode(t, "cgroup-driver")
	if k := kubelet(t, driver); k.CgroupDriver != "cgroupfs" || len(driver.ContainerdConfigPatches) != 1 ||
		!strings.Contains(driver.ContainerdConfigPatches[0], "SystemdCgroup = false") {
		t.Error("cgroup-driver does not tell both the kubelet and containerd")
	}
	if k := kubelet(t, decode(t, "default")); k.Kind != "" {
		t.Error("default patches something")
	}
}

// section is a part of containerd's configuration that belongs to a plugin.
var section = regexp.MustCompile(`plugins\."?([a-z0-9.]+)"?`)

// TestPatchesAreForTheNodeImage: containerd reads a configuration by its version, and
// takes a section that another version calls otherwise in place of the image's own one.
func TestPatchesAreForTheNodeImage(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kind").Output()
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "images/base/files/etc/containerd/config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, m := range section.FindAllStringSubmatch(string(own), -1) {
		known[m[1]] = true
	}
	patches := 0
	for _, name := range names(t, ".") {
		for _, patch := range decode(t, name).ContainerdConfigPatches {
			for _, m := range section.FindAllStringSubmatch(patch, -1) {
				if patches++; !known[m[1]] {
					t.Errorf("%s patches %s; the image's own configuration has %v", name, m[1], known)
				}
			}
		}
	}
	if patches == 0 {
		t.Error("there is no patch of containerd's configuration")
	}
}

// noEngine is a docker that knows itself and its images and runs nothing: kind
// gets as far as asking it for a network.
const noEngine = `#!/bin/sh
case "$1" in
info) echo '{"CgroupDriver":"systemd","CgroupVersion":"2","MemoryLimit":true,"PidsLimit":true,"CPUShares":true}' ;;
ps | inspect) ;;
*) echo "no engine: $*" >&2; exit 1 ;;
esac
`

// TestKindReadsThem has kind itself load each file, check it, and get as far as
// the container engine. Of a file that is wrong it does not get that far.
func TestKindReadsThem(t *testing.T) {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte(noEngine), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	provider := cluster.NewProvider(cluster.ProviderWithDocker())
	create := func(data []byte) error {
		return provider.Create("oomlab-check", cluster.CreateWithRawConfig(data))
	}
	for _, name := range names(t, ".") {
		data := file(t, ".", name)
		if err := create(data); err == nil || !strings.Contains(err.Error(), "docker network") {
			t.Errorf("%s: got %v; want it to fail for want of an engine", name, err)
		}
		for _, wrong := range []struct{ edit, with, want string }{
			{"role: control-plane", "rolle: control-plane", "rolle"},
			{"role: control-plane", "role: worker", "control-plane"},
		} {
			err := create(bytes.Replace(data, []byte(wrong.edit), []byte(wrong.with), 1))
			if err == nil || !strings.Contains(err.Error(), wrong.want) {
				t.Errorf("%s with %s: got %v; want an error about %s", name, wrong.with, err, wrong.want)
			}
		}
	}
}

// objects reads every document of a manifest strictly, as its own type.
func objects(t *testing.T, name string) []runtime.Object {
	t.Helper()
	data := file(t, "manifests", name)
	var out []runtime.Object
	for _, doc := range bytes.Split(data, []byte("\n---\n")) {
		var kind struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
		}
		if err := yaml.Unmarshal(doc, &kind); err != nil {
			t.Fatal(err)
		}
		object, ok := map[string]runtime.Object{
			"v1/Namespace": &corev1.Namespace{}, "v1/ServiceAccount": &corev1.ServiceAccount{},
			"apps/v1/DaemonSet":                               &appsv1.DaemonSet{},
			"rbac.authorization.k8s.io/v1/Role":               &rbacv1.Role{},
			"rbac.authorization.k8s.io/v1/RoleBinding":        &rbacv1.RoleBinding{},
			"rbac.authorization.k8s.io/v1/ClusterRole":        &rbacv1.ClusterRole{},
			"rbac.authorization.k8s.io/v1/ClusterRoleBinding": &rbacv1.ClusterRoleBinding{},
		}[kind.APIVersion+"/"+kind.Kind]
		if !ok {
			t.Fatalf("%s holds a %s of %s", name, kind.Kind, kind.APIVersion)
		}
		if err := yaml.UnmarshalStrict(doc, object); err != nil {
			t.Fatalf("%s: %s: %v", name, kind.Kind, err)
		}
		out = append(out, object)
	}
	return out
}

func TestManifests(t *testing.T) {
	const own = "oomlab"
	for _, name := range names(t, "manifests") {
		for _, o := range objects(t, name) {
			m, ok := o.(interface {
				GetName() string
				GetNamespace() string
				GetLabels() map[string]string
			})
			if !ok || m.GetLabels()["app.kubernetes.io/managed-by"] != own {
				t.Errorf("%s: %T %s is not labelled as oomlab's", name, o, m.GetName())
			}
			switch o := o.(type) {
			case *rbacv1.Role, *rbacv1.RoleBinding, *corev1.ServiceAccount, *appsv1.DaemonSet:
				if m.GetNamespace() != own {
					t.Errorf("%s: %T %s is in namespace %q", name, o, m.GetName(), m.GetNamespace())
				}
			case *rbacv1.ClusterRole:
				for _, rule := range o.Rules {
					for _, verb := range rule.Verbs {
						if !slices.Contains([]string{"get", "list", "watch"}, verb) {
							t.Errorf("the cluster role may %s %v", verb, rule.Resources)
						}
					}
				}
			}
		}
	}
}

// TestTheAgentHasNoMoreThanItNeeds: it is privileged, and that is all.
func TestTheAgentHasNoMoreThanItNeeds(t *testing.T) {
	set := objects(t, "node-agent")[0].(*appsv1.DaemonSet)
	spec := set.Spec.Template.Spec
	c := spec.Containers[0].SecurityContext
	switch {
	case spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken:
		t.Error("it has a token of the API")
	case spec.HostNetwork || spec.HostIPC:
		t.Error("it shares the host's network or IPC")
	case c.ReadOnlyRootFilesystem == nil || !*c.ReadOnlyRootFilesystem:
		t.Error("it can write to its root file system")
	case !spec.Containers[0].Resources.Limits.Memory().IsZero():
		t.Error("it has a limit that it could be killed at")
	}
	const label = "app.kubernetes.io/name"
	if got := set.Spec.Selector.MatchLabels[label]; got != set.Spec.Template.Labels[label] {
		t.Errorf("it selects %s", got)
	}
	// what Pod Security has against it is what the manifest's comment says
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	latest := api.LevelVersion{Level: api.LevelBaseline, Version: api.LatestVersion()}
	result := policy.AggregateCheckResults(evaluator.EvaluatePod(latest, &set.Spec.Template.ObjectMeta, &spec))
	want := []string{"host namespaces", "hostPath volumes", "privileged"}
	if got := result.ForbiddenReasons; !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		t.Errorf("the baseline forbids it %q; want %q", got, want)
	}
	ns := objects(t, "namespace")[0].(*corev1.Namespace)
	levels, errs := api.PolicyToEvaluate(ns.Labels, api.Policy{})
	if len(errs) > 0 || levels.Enforce.Level != api.LevelPrivileged || levels.Warn.Level != api.LevelBaseline {
		t.Errorf("the namespace enforces %s and warns of %s; %v", levels.Enforce.Level, levels.Warn.Level, errs)
	}
}
