package scenario

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"

	"github.com/oomlab/oomlab/harness/kernel"
)

// Manifest is a Pod of the user's own: the object as it will be created, and
// what oomlab has to know of it.
type Manifest struct {
	// Pod is the whole object as JSON. Of a Deployment, StatefulSet, DaemonSet,
	// ReplicaSet or Job it is the Pod of its template.
	Pod json.RawMessage
	// As are its containers and settings, as a scenario would have them.
	As Pod
}

// manifestResources are resources in the API's spelling.
type manifestResources struct {
	Requests map[string]string `yaml:"requests"`
	Limits   map[string]string `yaml:"limits"`
}

type manifestContainer struct {
	Name          string            `yaml:"name"`
	Image         string            `yaml:"image"`
	Command       []string          `yaml:"command"`
	Args          []string          `yaml:"args"`
	RestartPolicy string            `yaml:"restartPolicy"`
	Resources     manifestResources `yaml:"resources"`
}

type manifestSpec struct {
	Containers        []manifestContainer `yaml:"containers"`
	InitContainers    []manifestContainer `yaml:"initContainers"`
	RestartPolicy     string              `yaml:"restartPolicy"`
	PriorityClassName string              `yaml:"priorityClassName"`
	NodeName          string              `yaml:"nodeName"`
	NodeSelector      map[string]string   `yaml:"nodeSelector"`
	Resources         manifestResources   `yaml:"resources"`
}

// templates are the kinds that have the template of a pod at spec.template.
var templates = map[string]bool{"Deployment": true, "StatefulSet": true, "DaemonSet": true, "ReplicaSet": true,
	"Job": true}

// ReadManifest reads a file of one Kubernetes object that is, or makes, a pod.
// What the file says beyond what oomlab asks of it is kept and not checked: the
// API server will.
func ReadManifest(name string, data []byte) (Manifest, error) {
	fail := func(format string, args ...any) (Manifest, error) {
		return Manifest{}, fmt.Errorf("%s: "+format, append([]any{name}, args...)...)
	}
	if len(data) > maxSize {
		return fail("%d bytes are more than a manifest has; at most %d are read", len(data), maxSize)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var object map[string]any
	if err := dec.Decode(&object); err != nil {
		return fail("this is no Kubernetes object: %w", err)
	}
	if err := dec.Decode(new(map[string]any)); !errors.Is(err, io.EOF) {
		return fail("holds more than one object; write one file for each pod")
	}
	kind, _ := object["kind"].(string)
	if templates[kind] {
		spec, _ := object["spec"].(map[string]any)
		template, ok := spec["template"].(map[string]any)
		if !ok {
			return fail("%s has no spec.template", kind)
		}
		object = template
	} else if kind != "Pod" {
		return fail("kind %q makes no pod; write a Pod, or a Deployment, StatefulSet, DaemonSet, ReplicaSet or Job",
			kind)
	}
	object["apiVersion"], object["kind"] = "v1", "Pod"
	delete(object, "status")
	out := Manifest{}
	var err error
	if out.Pod, err = json.Marshal(object); err != nil {
		return fail("%w", err)
	}
	var pod struct {
		Spec manifestSpec `yaml:"spec"`
	}
	if err := yaml.Unmarshal(out.Pod, &pod); err != nil {
		return fail("%w", err)
	}
	if len(pod.Spec.Containers) == 0 {
		return fail("has no containers")
	}
	out.As, err = pod.Spec.pod()
	if err != nil {
		return fail("%w", err)
	}
	return out, nil
}

func (s manifestSpec) pod() (Pod, error) {
	p := Pod{RestartPolicy: s.RestartPolicy, PriorityClassName: s.PriorityClassName, NodeName: s.NodeName,
		NodeSelector: s.NodeSelector}
	if p.RestartPolicy == "" {
		p.RestartPolicy = "Always"
	}
	var err error
	if p.Requests, p.Limits, err = s.Resources.read("the pod"); err != nil {
		return p, err
	}
	for to, from := range map[*Containers][]manifestContainer{&p.InitContainers: s.InitContainers,
		&p.Containers: s.Containers} {
		for _, m := range from {
			c := Container{Name: m.Name, Image: m.Image, Command: m.Command, Args: m.Args,
				RestartPolicy: m.RestartPolicy}
			if c.Name == "" || c.Image == "" {
				return p, fmt.Errorf("a container has no name, or no image")
			}
			if c.Requests, c.Limits, err = m.Resources.read("container " + m.Name); err != nil {
				return p, err
			}
			*to = append(*to, c)
		}
	}
	return p, nil
}

func (r manifestResources) read(of string) (requests, limits Resources, err error) {
	one := func(m map[string]string) (Resources, error) {
		var out Resources
		if text, ok := m["memory"]; ok {
			if out.Memory, err = kernel.ParseBytes(text); err != nil {
				return out, fmt.Errorf("%s: memory: %w", of, err)
			}
		}
		if text, ok := m["cpu"]; ok {
			d := &decoder{at: map[string]pos{}}
			d.cpu(&yaml.Node{Kind: yaml.ScalarNode, Value: text}, &out.CPU, nil)
			if len(d.out) > 0 {
				return out, fmt.Errorf("%s: cpu: %s", of, d.out[0].What)
			}
		}
		return out, nil
	}
	if requests, err = one(r.Requests); err != nil {
		return requests, limits, err
	}
	limits, err = one(r.Limits)
	return requests, limits, err
}

// Manifests are the files that a scenario's pods name, each once.
func (s Scenario) Manifests() []string {
	var out []string
	seen := map[string]bool{}
	for _, p := range s.Pods {
		if p.Manifest != "" && !seen[p.Manifest] {
			seen[p.Manifest] = true
			out = append(out, p.Manifest)
		}
	}
	return out
}
