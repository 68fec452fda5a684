package kubelet

import (
	"reflect"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
)

func TestParseEviction(t *testing.T) {
	bytes := func(n kernel.Bytes) *kernel.Bytes { return &n }
	for _, c := range []struct {
		text string
		want Eviction
	}{
		{"The node was low on resource: memory. Threshold quantity: 800Mi, available: 724160Ki. Container main was " +
			"using 505932Ki, request is 0, has larger consumption of memory. ",
			Eviction{"memory", bytes(800 << 20), bytes(724160 << 10), []Excess{{"main", 505932 << 10, 0}}}},
		{"The node was low on resource: ephemeral-storage. Container a was using 12Ki, request is 10Ki, has larger " +
			"consumption of ephemeral-storage. Container b was using 3Gi, request is x, has larger consumption of " +
			"ephemeral-storage. ",
			Eviction{"ephemeral-storage", nil, nil, []Excess{{"a", 12 << 10, 10 << 10}, {"b", 3 << 30, -1}}}},
		{"The node had condition: [MemoryPressure]. ", Eviction{}},
		{"", Eviction{}},
	} {
		if got := ParseEviction(c.text); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %+v; want %+v", c.text, got, c.want)
		}
	}
}

func TestMemoryRequest(t *testing.T) {
	pod := Pod{Containers: []Container{
		{Name: "asks", Requests: Resources{Memory: 1 << 20}, Limits: Resources{Memory: 2 << 20}},
		{Name: "limited", Limits: Resources{Memory: 2 << 20}},
		{Name: "free"},
	}}
	for name, want := range map[string]kernel.Bytes{"asks": 1 << 20, "limited": 2 << 20, "free": 0} {
		if got, ok := pod.MemoryRequest(name); got != want || !ok {
			t.Errorf("%s requests %d, %t; want %d", name, got, ok, want)
		}
	}
	if _, ok := pod.MemoryRequest("nobody"); ok {
		t.Error("a container requests memory that there is not")
	}
}
