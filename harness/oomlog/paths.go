package oomlog

import (
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
)

// checkPaths takes away the paths of cgroups that are cut, and reports whether
// there were any: a cut path names another cgroup, often one that exists.
func (d *draft) checkPaths() (cut bool) {
	drop := func(path *string, is bool) {
		if is && *path != "" {
			*path, cut = "", true
		}
	}
	if d.cutSummary && d.summaryText != "" {
		// The summary ends in the last path that it has.
		if last := &d.TaskMemcg; *last != "" {
			drop(last, true)
		} else {
			drop(&d.OOMMemcg, d.OOMMemcg != "")
		}
	}
	if limit, task := d.OOMMemcg, d.TaskMemcg; limit != "" && task != "" && !kernel.InCgroup(task, limit) {
		drop(&d.OOMMemcg, strings.HasPrefix(task, limit))
		drop(&d.TaskMemcg, strings.HasPrefix(limit, task) && !kernel.InCgroup(limit, task))
	}
	drop(&d.OOMMemcg, cutPod(d.OOMMemcg))
	drop(&d.TaskMemcg, cutPod(d.TaskMemcg))
	drop(&d.GroupPath, cutPod(d.GroupPath))
	if cut && d.OOMMemcg == "" && d.Memcg != nil && len(d.Memcg.Stats) > 0 {
		// The statistics of the cgroup at its limit come first, with its path.
		if path := d.Memcg.Stats[0].Path; !cutPod(path) && (d.TaskMemcg == "" || kernel.InCgroup(d.TaskMemcg, path)) {
			d.OOMMemcg = clip(path, maxPath)
		}
	}
	return cut
}

// cutPod reports whether a path ends inside the UID of a pod, which has 32 hex
// digits, with or without separators, or inside a container's id of 64.
func cutPod(path string) bool {
	const hex = "0123456789abcdef"
	last := path[strings.LastIndexByte(path, '/')+1:]
	_, uid, pod := strings.Cut(last, "pod")
	switch {
	case !strings.Contains(path, "kubepods"):
		return false
	case strings.HasPrefix(last, "pod"), pod && strings.HasPrefix(last, "kubepods"):
		if strings.HasPrefix(uid, "s") { // "kubepods", "kubepods.slice"
			return false
		}
		uid = strings.TrimSuffix(uid, ".slice")
		return strings.Trim(uid, hex+"-_") == "" && len(strings.Trim(uid, "-_")) < 32
	}
	return len(last) > 32 && len(last) < 64 && strings.Trim(last, hex) == ""
}
