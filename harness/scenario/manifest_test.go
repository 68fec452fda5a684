package scenario

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
)

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      priorityClassName: system-node-critical
      initContainers:
      - {name: proxy, image: envoy, restartPolicy: Always}
      containers:
      - name: web
        image: nginx:1.27
        env: [{name: SIZE, value: "1"}]
        resources:
          requests: {memory: 1.5Gi, cpu: 250m}
          limits: {memory: "2147483648", cpu: 2}
`

func TestReadManifestTakesThePodOfATemplate(t *testing.T) {
	m, err := ReadManifest("shop.yaml", []byte(deployment))
	if err != nil {
		t.Fatal(err)
	}
	web := m.As.Containers[0]
	want := Resources{Memory: 2 * kernel.GiB, CPU: 2000}
	if web.Name != "web" || web.Image != "nginx:1.27" || web.Limits != want ||
		web.Requests != (Resources{Memory: 1536 * kernel.MiB, CPU: 250}) {
		t.Errorf("web is %+v", web)
	}
	if proxy := m.As.InitContainers[0]; proxy.RestartPolicy != "Always" || m.As.RestartPolicy != "Always" ||
		m.As.PriorityClassName != "system-node-critical" {
		t.Errorf("the pod is %+v", m.As)
	}
	var pod struct {
		Kind     string
		Metadata struct{ Labels map[string]string }
		Spec     struct{ Containers []map[string]any }
	}
	if err := json.Unmarshal(m.Pod, &pod); err != nil {
		t.Fatal(err)
	}
	if pod.Kind != "Pod" || pod.Metadata.Labels["app"] != "shop" || pod.Spec.Containers[0]["env"] == nil {
		t.Errorf("the object lost something: %s", m.Pod)
	}
}

func TestReadManifestSaysWhatIsWrong(t *testing.T) {
	for _, tt := range []struct{ name, edit, with, want string }{
		{"a service", "kind: Deployment", "kind: Service",
			`m.yaml: kind "Service" makes no pod; write a Pod, or a Deployment, StatefulSet, DaemonSet, ReplicaSet or Job`},
		{"no template", "template:", "tmplate:", "m.yaml: Deployment has no spec.template"},
		{"two objects", "apiVersion: apps/v1", "a: 1\n---\napiVersion: apps/v1",
			"m.yaml: holds more than one object; write one file for each pod"},
		{"no containers", "      containers:\n", "      ephemeral:\n", "m.yaml: has no containers"},
		{"an amount", "1.5Gi", "1.5GB",
			`m.yaml: container web: memory: "1.5GB" is not a quantity of memory; write bytes or a suffix such as 64Mi, 1.5Gi, 200M`},
		{"CPU", "250m", "250x", `m.yaml: container web: cpu: "250x" is not an amount of CPU`},
		{"no image", "image: envoy, ", "", "m.yaml: a container has no name, or no image"},
		{"not YAML", "apiVersion: apps/v1", "\tapiVersion", "m.yaml: this is no Kubernetes object: yaml: "},
	} {
		_, err := ReadManifest("m.yaml", []byte(strings.Replace(deployment, tt.edit, tt.with, 1)))
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
}
