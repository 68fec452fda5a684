package kube

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target/kube/image"
)

// Way is one way to a cluster, and whether this machine has what it takes.
type Way struct {
	Name string `json:"name"`
	kernel.Answer
	Hint string `json:"hint,omitempty"`
	Can  string `json:"can"` // what it costs, and what it can show
}

// Ways are all ways to a cluster. Nothing is started and nobody is asked.
func Ways() []Way {
	way := func(name, can, hint string, answer kernel.Answer) Way {
		answer.Why, _, _ = strings.Cut(answer.Why, "; ") // the hint says it
		return Way{name, answer, hint, can}
	}
	return []Way{
		way("VM cluster", "2304Mi to 4Gi and a core; boots once in minutes, then 2 s; all kube scenarios, the node's OOM "+
			"and evictions included; cgroupfs driver", "make node-image makes one", haveImage()),
		way("kind in a VM", "4Gi and a core; boots once in some ten minutes, then seconds; the systemd cgroup driver and a "+
			"node that is a container", "make kind-disk makes one", haveKind()),
		way("kind here", "the same on this machine's kernel; an OOM of its node is one of this machine",
			"install docker, podman or nerdctl; kind pulls its node image", haveEngine()),
		way("kubeconfig", "a privileged pod on a node, for the length of a run; nothing that harms other pods without "+
			"--allow-node-oom", "name it with --kubeconfig or --context", haveKubeconfig()),
	}
}

func yes(format string, args ...any) kernel.Answer {
	return kernel.Answer{Is: "yes", Why: fmt.Sprintf(format, args...)}
}

func no(err error) kernel.Answer { return kernel.Answer{Is: "no", Why: err.Error()} }

func haveImage() kernel.Answer {
	i, err := image.Open("")
	if err != nil {
		return no(err)
	}
	return yes("Kubernetes %s, made %s", i.Version, i.Made.Format(time.DateOnly))
}

func haveKind() kernel.Answer {
	k, err := image.OpenKind("")
	if err != nil {
		return no(err)
	}
	return yes("Kubernetes %s, made %s", k.Version, k.Made.Format(time.DateOnly))
}

// haveEngine looks for the programs. Whether the engine answers shows when kind asks it.
func haveEngine() kernel.Answer {
	engines := []string{"docker", "podman", "nerdctl"}
	for _, name := range engines {
		if path, err := exec.LookPath(name); err == nil {
			return kernel.Answer{Is: "unsure", Why: path + " is there, and was not asked"}
		}
	}
	return no(fmt.Errorf("there is none of %s in PATH", strings.Join(engines, ", ")))
}

func haveKubeconfig() kernel.Answer {
	config, err := Where{}.Config()
	if err != nil {
		return no(errors.New("no kubeconfig of this user names a cluster"))
	}
	return kernel.Answer{Is: "unsure", Why: config.Host + " was not asked"}
}
