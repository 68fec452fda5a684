package kindconfig

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

func TestNames(t *testing.T) {
	want := []string{"cgroup-driver", "default", "single-process-oom-kill", "small-node"}
	if got := Names(); !slices.Equal(got, want) {
		t.Errorf("clusters %q; want %q", got, want)
	}
	if got, want := Manifests(), []string{"namespace", "rbac", "node-agent"}; !slices.Equal(got, want) {
		t.Errorf("manifests %q; want %q: a namespace comes before what is in it", got, want)
	}
	for _, name := range Names() {
		data, err := Cluster(name)
		if err != nil || !bytes.Contains(data, []byte("oomlab.dev/config: "+name)) {
			t.Errorf("%s: %v; its node does not bear its name", name, err)
		}
	}
	const wrong = `no such kind configuration: "big-node"; there are cgroup-driver, default, single-process-oom-kill, small-node`
	if _, err := Cluster("big-node"); !errors.Is(err, ErrUnknown) || err.Error() != wrong {
		t.Errorf("got %v, want %s", err, wrong)
	}
}
