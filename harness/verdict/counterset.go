package verdict

import (
	"encoding/json"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
)

// CounterSet holds counters by "FILE CGROUP", or FILE for the machine's, and
// then by name. In JSON it is by path and then by time:
//
//	{"/lab/memory.events": {"before": {"oom_kill": 0}, "after": {"oom_kill": 1}}}
type CounterSet map[string]map[string]BeforeAfter

// readings are a file's counters before and after a run.
type readings struct {
	Before map[string]int64 `json:"before"`
	After  map[string]int64 `json:"after"`
}

// vmstatPath is where the machine's counters are.
const vmstatPath = "/proc/vmstat"

// MarshalJSON implements json.Marshaler.
func (c CounterSet) MarshalJSON() ([]byte, error) {
	out := map[string]readings{}
	for key, counters := range c {
		r := readings{map[string]int64{}, map[string]int64{}}
		for name, v := range counters {
			r.Before[name], r.After[name] = v.Before, v.After
		}
		path := vmstatPath
		if file, cgroup, ok := strings.Cut(key, " "); ok {
			path = strings.TrimSuffix(cgroup, "/") + "/" + file
		}
		out[path] = r
	}
	return json.Marshal(out)
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *CounterSet) UnmarshalJSON(data []byte) error {
	var in map[string]readings
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	*c = CounterSet{}
	for path, r := range in {
		key := evidence.FileVmstat
		if path != vmstatPath {
			i := strings.LastIndexByte(path, '/')
			cgroup := path[:max(i, 0)]
			if cgroup == "" {
				cgroup = base
			}
			key = path[i+1:] + " " + cgroup
		}
		counters := map[string]BeforeAfter{}
		for name, before := range r.Before {
			counters[name] = BeforeAfter{before, r.After[name]}
		}
		(*c)[key] = counters
	}
	return nil
}
