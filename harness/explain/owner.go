package explain

import (
	"cmp"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
)

// Owner is who a cgroup belongs to, in the words of the software that made it.
type Owner struct {
	By   string `json:"by"`             // kubernetes, docker, systemd, slurm, ...
	Kind string `json:"kind"`           // pod, container, service, job step, ...
	Name string `json:"name,omitempty"` // what a person calls it
	ID   string `json:"id,omitempty"`   // of a container, an allocation
	UID  string `json:"uid,omitempty"`  // of a user
	// In is what it runs inside of, where that has an owner of its own.
	In *Owner `json:"in,omitempty"`
}

// owners has a row for each way in which some software names cgroups. The pattern
// has the groups name, id and uid, and further ones that text puts into words. Of
// two rows that fit the same place the first counts.
var owners = []struct {
	by, kind string
	pattern  string
	// text is how it is called; $name stands for a group. Empty: kind and name.
	text string
}{
	{"slurm", "job step",
		`[^/]*slurm[^/]*/(?:uid_(?P<uid>\d+)/)?job_(?P<job>\d+)/step_(?P<step>[^/]+)(?:/user|/slurm)?(?:/task_\w+)?`,
		"step $step of job $job"},
	{"slurm", "job", `[^/]*slurm[^/]*/(?:uid_(?P<uid>\d+)/)?job_(?P<job>\d+)`, "job $job"},
	{"nomad", "task",
		`nomad(?:\.slice)?/(?:(?:share|reserve)(?:\.slice)?/)?(?P<id>[0-9a-f]{8}(?:-[0-9a-f]{4,12}){4})[./](?P<name>[^/]+)`,
		""},
	{"ecs", "container", `ecs/(?:[0-9a-f-]{32,36}/|task-[^/]+/)?(?P<id>[0-9a-f]{64}|[0-9a-f]{32}-\d+)`, ""},
	{"lxc", "container", `lxc(?:\.payload|\.monitor)?[./](?P<name>[^/]+)`, ""},
	{"docker", "container", `docker[-/](?P<id>[0-9a-f]{64})(?:\.scope)?`, ""},
	{"docker", "build", `docker/buildkit/(?P<id>[^/]+)`, ""},
	{"podman", "pod", `machine-libpod_pod_(?P<id>[0-9a-f]{64})\.slice`, ""},
	{"podman", "container", `(?:libpod_parent/)?libpod-(?:conmon-|payload-)?(?P<id>[0-9a-f]{64})(?:\.scope)?`, ""},
	{"cri-o", "container", `crio-(?:conmon-)?(?P<id>[0-9a-f]{64})(?:\.scope)?`, ""},
	{"containerd", "container",
		`(?:cri-containerd-|containerd-|nerdctl-|default/|k8s\.io/|moby/)(?P<id>[0-9a-f]{64})(?:\.scope)?`, ""},
	{"libvirt", "virtual machine",
		`machine(?:\.slice)?/(?:machine-)?qemu-(?:\d+-)?(?P<name>[^/]+?)(?:\.libvirt-qemu|\.scope)`, ""},
	{"libvirt", "container",
		`machine(?:\.slice)?/(?:machine-)?lxc-(?:\d+-)?(?P<name>[^/]+?)(?:\.libvirt-lxc|\.scope)`, ""},
	{"systemd", "nspawn container",
		`machine\.slice/(?:systemd-nspawn@(?P<name>[^/]+)\.service|machine-(?P<name>[^/]+)\.scope)`, ""},
	{"systemd", "session", `user\.slice/user-(?P<uid>\d+)\.slice/session-(?P<name>[^/]+)\.scope`, ""},
	{"systemd", "user service", `user@(?P<uid>\d+)\.service/(?:[^/]+\.slice/)*(?P<name>[^/]+)\.service`, ""},
	{"systemd", "snap",
		`user@(?P<uid>\d+)\.service/(?:[^/]+\.slice/)*snap\.(?P<name>[^/]+?)[.-][0-9a-f-]{36}\.scope`, ""},
	{"systemd", "application",
		`user@(?P<uid>\d+)\.service/(?:[^/]+\.slice/)*(?:app-|run-)?(?P<name>[^/]+)\.scope`, ""},
	{"systemd", "user manager", `user@(?P<uid>\d+)\.service`, "user manager"},
	{"systemd", "user", `user\.slice/user-(?P<uid>\d+)\.slice`, "sessions"},
	{"systemd", "service", `(?:[^/]+\.slice/)*(?P<name>[^/]+)\.service`, ""},
	{"systemd", "scope", `(?:[^/]+\.slice/)*(?P<name>[^/]+)\.scope`, ""},
	{"systemd", "slice", `(?:[^/]+\.slice/)*(?P<name>[^/]+)\.slice`, ""},
}

var ownerPatterns = func() []*regexp.Regexp {
	all := make([]*regexp.Regexp, len(owners))
	for i, row := range owners {
		all[i] = regexp.MustCompile(`(?:^|/)` + row.pattern + `(?:/|$)`)
	}
	return all
}()

// ownerWords has a text for each pattern that every path has which it fits: a search
// for that is quick, and most paths fit few patterns.
var ownerWords = func() []string {
	all := make([]string, len(owners))
	for i, row := range owners {
		parsed, err := syntax.Parse(row.pattern, syntax.Perl)
		if err != nil || parsed.Op != syntax.OpConcat && parsed.Op != syntax.OpLiteral {
			continue
		}
		for _, part := range append(parsed.Sub, parsed) {
			if word := string(part.Rune); part.Op == syntax.OpLiteral && part.Flags&syntax.FoldCase == 0 &&
				len(word) > len(all[i]) {
				all[i] = word
			}
		}
	}
	return all
}()

// maxOwnerPath bounds what is searched; PATH_MAX is longer than any real cgroup's.
const maxOwnerPath = 1 << 10

// OwnerOf reads a memory cgroup's path. The owner is the innermost; In leads
// outwards. Nil: the path names nobody that is known.
func OwnerOf(path string) *Owner {
	if path == "" || path == "/" || len(path) > maxOwnerPath {
		return nil
	}
	type found struct {
		o          *Owner
		begin, end int
	}
	var all []found
	if k := DecodeCgroup(path); k != nil && k.PodUID != "" {
		o := &Owner{By: "kubernetes", Kind: "pod", Name: k.PodUID}
		at := strings.LastIndex(strings.ReplaceAll(path, "_", "-"), k.PodUID) + len(k.PodUID)
		if k.ContainerID != "" {
			runtime := cmp.Or(k.Runtime, "kubernetes")
			o = &Owner{By: runtime, Kind: "container", ID: k.ContainerID, In: o}
			at = len(path)
		}
		all = append(all, found{o, strings.Index(path, "kubepods"), at})
	}
	plain := unescapeUnit(path)
	if plain != path && all != nil {
		plain = path // positions must stay
	}
	for i, row := range owners {
		if !strings.Contains(plain, ownerWords[i]) {
			continue
		}
		from := 0
		for len(all) < 16 {
			src := plain[from:]
			m := ownerPatterns[i].FindStringSubmatchIndex(src)
			if m == nil {
				break
			}
			begin, end := from+m[0], from+m[1]
			if end < len(plain) {
				end-- // the slash begins the next
			}
			from = max(end, from+1)
			if slices.ContainsFunc(all, func(f found) bool { return begin < f.end && f.begin < end }) {
				continue
			}
			o := &Owner{By: row.by, Kind: row.kind}
			o.name(ownerPatterns[i], row.text, src, m)
			all = append(all, found{o, begin, end})
		}
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Compare(a.begin, b.begin) })
	var inner *Owner
	for _, f := range all {
		if f.o.Kind == "slice" && inner != nil {
			continue // of something that has a name already
		}
		outer := f.o
		for outer.In != nil {
			outer = outer.In
		}
		if inner != nil && inner.Kind == "slice" {
			inner = nil // a slice says nothing of what it holds
		}
		outer.In, inner = inner, f.o
	}
	return inner
}

// name sets what the groups of a pattern have found at m, and the name by text.
func (o *Owner) name(pattern *regexp.Regexp, text, src string, m []int) {
	for g, name := range pattern.SubexpNames() {
		if name == "" || m[2*g] < 0 {
			continue
		}
		value := src[m[2*g]:m[2*g+1]]
		switch name {
		case "name":
			o.Name = strings.TrimSuffix(value, ".scope")
		case "id":
			o.ID = value
		case "uid":
			o.UID = value
		}
	}
	if name := pattern.ExpandString(nil, text, src, m); len(name) > 0 {
		o.Name = string(name)
	}
}

// unescapeUnit takes back what systemd-escape(1) does to names: \x2d is a dash.
func unescapeUnit(s string) string {
	for from := 0; ; {
		i := strings.Index(s[from:], `\x`)
		if i < 0 || from+i+4 > len(s) {
			return s
		}
		i += from
		from = i + 1
		if n, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil && n > ' ' && n < 0x7f && n != '/' {
			s = s[:i] + string(rune(n)) + s[i+4:]
		}
	}
}

// container reports whether root inside lacks CAP_SYS_ADMIN unless somebody asked
// for it.
func (o *Owner) container() bool {
	if o == nil {
		return false
	}
	switch o.By {
	case "docker", "podman", "containerd", "cri-o", "kubernetes", "ecs":
		return true
	}
	return o.In.container()
}

// String is the owner in words.
func (o *Owner) String() string {
	if o == nil {
		return ""
	}
	s := ownerNames[o.By] + " " + o.Kind
	if o.Kind == "job" || o.Kind == "job step" || o.Kind == "user manager" || o.Kind == "user" {
		s = ownerNames[o.By]
	}
	if o.Name != "" {
		s += " " + o.Name
	}
	if o.ID != "" && o.Name != "" {
		s += " (" + short(o.ID) + ")"
	} else if o.ID != "" {
		s += " " + short(o.ID)
	}
	if o.UID != "" {
		s += " of uid " + o.UID
	}
	if o.In != nil && !(o.By == "systemd" && o.In.By == "systemd") {
		s += ", in the " + o.In.String()
	}
	return s
}

// ownerNames are the proper names.
var ownerNames = map[string]string{"slurm": "Slurm", "nomad": "Nomad", "ecs": "ECS", "lxc": "LXC", "docker": "Docker",
	"podman": "Podman", "cri-o": "CRI-O", "containerd": "containerd", "libvirt": "libvirt", "systemd": "systemd",
	"kubernetes": "Kubernetes"}

// short is as much of an id as tools show.
func short(id string) string {
	if isContainerID(id) {
		return id[:12]
	}
	return id
}
