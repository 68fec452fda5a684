package kubelet

import (
	"regexp"
	"strconv"
)

// Line is what a line of the kubelet's log says about memory. All fields are empty
// for a line about something else. Pods are named as the API names them,
// NAMESPACE/NAME.
type Line struct {
	OOM     int    // the pid that an OOM of the node killed
	Ranked  string // the pod that came first when one was to be evicted
	Evicted string // the pod that was evicted
	Unable  string // why it could not look whether a pod has to be evicted
}

var (
	loggedOOM     = regexp.MustCompile(`"Got sys oom event" event=\{"Pid":([0-9]+),`)
	loggedRanking = regexp.MustCompile(`"Eviction manager: pods ranked for eviction" pods=\["([^"]+)"`)
	loggedUnable  = regexp.MustCompile(`"Eviction manager: failed to synchronize" err="(.*)"`)
	loggedEvicted = regexp.MustCompile(`"Eviction manager: pod is evicted successfully" pod="([^"]+)"`)
	systemOOM     = regexp.MustCompile(`victim process: (.*), pid: ([0-9]+)`)
)

// ParseLine reads a line of the kubelet's log.
func ParseLine(text string) Line {
	part := func(of *regexp.Regexp) string {
		if m := of.FindStringSubmatch(text); m != nil {
			return m[1]
		}
		return ""
	}
	pid, _ := strconv.Atoi(part(loggedOOM)) // digits; empty: no such line
	return Line{OOM: pid, Ranked: part(loggedRanking), Evicted: part(loggedEvicted), Unable: part(loggedUnable)}
}

// SystemOOMVictim is whom the message of a SystemOOM event names.
func SystemOOMVictim(message string) (comm string, pid int, ok bool) {
	m := systemOOM.FindStringSubmatch(message)
	if m == nil {
		return "", 0, false
	}
	pid, err := strconv.Atoi(m[2])
	return m[1], pid, err == nil
}
