//go:build !notlinux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/lab"
)

func (a *app) doctor(ctx context.Context, format string) error {
	c, err := lab.Examine(ctx, a.say)
	if err != nil {
		return err
	}
	if format == "json" {
		err = json.NewEncoder(a.out).Encode(c)
	} else {
		err = a.printCheckup(c)
	}
	if err != nil {
		return err
	}
	if c.Local.Is == "no" && c.VM.Is == "no" {
		return status(exitSkip)
	}
	return nil
}

func (a *app) printCheckup(c lab.Checkup) error {
	m := c.Machine
	fmt.Fprintf(a.out, "machine      %s %s, %d CPUs, %s of memory, %s of swap, cgroup v%d\n",
		m.Release, m.Arch, m.CPUs, m.MemTotal.Human(), m.SwapTotal.Human(), m.Cgroup.Version)
	a.printFinding(c.Local, "target local", 13)
	for _, ability := range slices.Sorted(maps.Keys(m.Abilities)) {
		f := lab.Finding{Answer: m.Abilities[ability]}
		if !f.Yes() {
			f.Hint = lab.Hints[ability]
		}
		if ability == kernel.AbilityKprobes || ability == kernel.AbilityTracepoints {
			f.Why, _, _ = strings.Cut(f.Why, ";") // the rest is below, hook by hook
		}
		a.printFinding(f, "  "+string(ability), 17)
	}
	fmt.Fprintf(a.out, "ebpf         tier %d of 3\n", c.EBPF.Tier)
	for _, hook := range slices.Sorted(maps.Keys(c.EBPF.Hooks)) {
		fmt.Fprintf(a.out, "  %-24s %s\n", hook, oneLine(c.EBPF.Hooks[hook]))
	}
	a.printFinding(c.VM, "target vm", 13)
	a.printFinding(c.QEMU, "  qemu", 17)
	a.printFinding(c.Accelerator, "  kvm", 17)
	a.printFinding(c.Disk, "  disk", 17)
	var names []string
	for _, k := range c.Kernels {
		names = append(names, k.Version.String())
	}
	if len(names) == 0 {
		names = []string{"none is cached"}
	}
	fmt.Fprintf(a.out, "  %-14s %s\n", "kernels", strings.Join(names, ", "))
	_, err := fmt.Fprintln(a.out, "target kube, by the cluster")
	for _, w := range c.Clusters {
		a.printFinding(lab.Finding{Answer: w.Answer, Hint: w.Hint}, "  "+w.Name, 17)
		fmt.Fprintf(a.out, "%-17s%-7s %s\n", "", "", w.Can)
	}
	return err
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", "; ") }

// printFinding shows a finding on a line, and the way out on another.
func (a *app) printFinding(f lab.Finding, label string, width int) {
	fmt.Fprintf(a.out, "%-*s%s\n", width, label, strings.TrimSpace(fmt.Sprintf("%-7s %s", f.Is, oneLine(f.Why))))
	if f.Hint != "" && f.Is != "yes" {
		fmt.Fprintf(a.out, "%-*s%-7s hint: %s\n", width, "", "", f.Hint)
	}
}
