package scenario

import (
	"regexp"
	"slices"
	"strconv"
)

// Userlands are the distributions that a VM can boot. A new one is a row in package
// userland.
var Userlands = []string{"debian"}

// maxPackages bounds what a scenario can ask for.
const maxPackages = 64

// packageName is the name of a package, see Debian Policy, section "Source".
var packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]{1,63}$`)

// CheckPackage says what is wrong with the name of a package; empty: nothing.
func CheckPackage(name string) string {
	if packageName.MatchString(name) {
		return ""
	}
	return strconv.Quote(name) + " is not the name of a package"
}

// userland checks what is said of a userland and its packages.
func (v *validator) userland() {
	n := v.s.Needs
	switch {
	case n.Userland == "" && len(n.Packages) > 0:
		v.problem(at("needs", "packages"), "add userland: "+Userlands[0], "packages belong to a userland")
	case n.Userland == "":
		return
	case !slices.Contains(Userlands, n.Userland):
		v.problem(at("needs", "userland"), meant(n.Userland, Userlands), "%q is not a userland", n.Userland)
	case n.Cgroup == 1:
		v.problem(at("needs", "userland"), "leave out cgroup: 1", "a userland has cgroup v2: systemd needs it")
	case len(v.s.Pods) > 0:
		v.problem(at("needs", "userland"), "leave it out", "pods run on a node, which has no userland of its own")
	case !slices.Equal(v.s.Targets, []Target{VM}):
		v.problem(at("targets"), "write targets: [vm]", "only a VM boots the userland that the scenario needs")
	}
	if len(n.Packages) > maxPackages {
		v.problem(at("needs", "packages"), "", "more than %d packages", maxPackages)
		return
	}
	for i, name := range n.Packages {
		if problem := CheckPackage(name); problem != "" {
			v.problem(at("needs", "packages", strconv.Itoa(i)), "write one such as postgresql", "%s", problem)
		}
	}
}
