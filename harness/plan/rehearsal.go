package plan

// rehearsalMS is how long a program of the user's own may take to come to rest.
const rehearsalMS = 10_000

// Rehearsal is the plan in which a plan's own programs run alone and without
// limits, so that what they hold can be measured. needed is false when there
// are none.
func Rehearsal(p Plan) (rehearsal Plan, needed bool) {
	r := Plan{
		Scenario: p.Scenario, Base: p.Base + "-rehearsal", CgroupVersion: p.CgroupVersion,
		Cgroups:  []Cgroup{{Path: "/rehearsal"}},
		WithinMS: rehearsalMS, DeadlineMS: rehearsalMS + deadlineSlackMS,
	}
	for _, q := range p.Processes {
		if !q.IsCommand() {
			continue
		}
		q.Cgroup, q.After, q.Parent, q.Respawn = "/rehearsal", nil, "", 0
		q.Launch.DeadlineMS = r.DeadlineMS
		r.Processes = append(r.Processes, q)
	}
	return r, len(r.Processes) > 0
}
