// Guest is the smallest thing that can stand for the agent in a guest: as PID 1
// it says Hello on the channel and does what a plan's scenario is called.
//
//	echo N          N events
//	size N          one event that says how long the request's line was
//	panic           panic_on_oom's message, through sysrq-c
//	exhaust         vm.panic_on_oom, and then all memory is taken
//	off             the machine is switched off
//	hang            silence
//	hang N          silence, where the request's ID is at most N; else one event
//	lossy           a sum that is one too high
//	swap            one event with the size of the swap disk in bytes
//	tick            one event with how many ticks this guest was asked for
//	programs        one event for each argument: what running it printed
//	wrong-id        an answer to another request
//	garbage         a line that is no JSON
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
)

// hold keeps what exhaust took.
var hold [][]byte

// ticks is the state of a guest: one that is not fresh has counted before.
var ticks uint64

func main() {
	if err := run(); err != nil {
		fmt.Println("guest:", err)
		unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	}
}

func run() error {
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := unix.Mount(m[0], m[1], m[0], 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m[1], err)
		}
	}
	modules, _ := filepath.Glob("/oomlab/modules/*.ko")
	sort.Strings(modules)
	for _, name := range modules {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		f.Close()
	}
	data, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	options := map[string]string{}
	for _, word := range strings.Fields(string(data)) {
		name, value, _ := strings.Cut(word, "=")
		options[name] = value
	}
	channel, err := os.OpenFile("/dev/"+options["oomlab.channel"], os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	t, err := unix.IoctlGetTermios(int(channel.Fd()), unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(int(channel.Fd()), unix.TCSETS, t); err != nil {
		return err
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return err
	}
	out := bufio.NewWriter(channel)
	say := func(v any) error {
		line, err := json.Marshal(v)
		if err != nil {
			return err
		}
		out.Write(append(line, '\n'))
		return out.Flush()
	}
	hello := wire.Hello{Protocol: wire.Protocol, Build: "test guest",
		Machine: kernel.Machine{Release: unix.ByteSliceToString(uts.Release[:])}}
	if err := say(hello); err != nil {
		return err
	}
	for in := bufio.NewReaderSize(channel, 1<<20); ; {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return err
		}
		var req wire.Request
		if err := json.Unmarshal(line, &req); err != nil {
			return fmt.Errorf("request of %d bytes: %w", len(line), err)
		}
		if req.Clock {
			if err := say(wire.Message{ID: req.ID, Done: true}); err != nil {
				return err
			}
			continue
		}
		if err := serve(req, len(line), options, say); err != nil {
			return err
		}
	}
}

func serve(req wire.Request, length int, options map[string]string, say func(any) error) error {
	sum := 0
	event := func(text string, n uint64) error {
		sum++
		return say(wire.Message{ID: req.ID, Events: wire.Events{{Source: evidence.Agent, Kind: evidence.Did,
			Text: text, N: n}}})
	}
	word, rest, _ := strings.Cut(req.Plan.Scenario, " ")
	switch word {
	case "echo":
		n, err := strconv.Atoi(rest)
		if err != nil {
			return err
		}
		for i := range n {
			if err := event(strings.Repeat("x", 250), uint64(i)); err != nil {
				return err
			}
		}
	case "size":
		if err := event("length", uint64(length)); err != nil {
			return err
		}
	case "panic":
		if err := event("about to panic", 0); err != nil {
			return err
		}
		return os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0)
	case "exhaust":
		if err := os.WriteFile("/proc/sys/vm/panic_on_oom", []byte("1"), 0); err != nil {
			return err
		}
		for {
			block, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|
				unix.MAP_POPULATE)
			if err != nil {
				return err
			}
			hold = append(hold, block)
		}
	case "off":
		return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	case "hang":
		for n, err := strconv.Atoi(rest); err != nil || req.ID <= n; {
			unix.Pause()
		}
		if err := event("awake", uint64(req.ID)); err != nil {
			return err
		}
	case "lossy":
		sum++
	case "wrong-id":
		req.ID++
	case "garbage":
		return say("{")
	case "swap":
		f, err := os.Open(options["oomlab.swap"])
		if err != nil {
			return err
		}
		defer f.Close()
		size, err := f.Seek(0, 2)
		if err != nil {
			return err
		}
		if err := event("bytes", uint64(size)); err != nil {
			return err
		}
	case "tick":
		ticks++
		if err := event("", ticks); err != nil {
			return err
		}
	case "programs":
		for _, name := range strings.Fields(rest) {
			out, err := exec.Command(name).CombinedOutput()
			if err != nil {
				out = append(out, err.Error()...)
			}
			if err := event(string(out), 0); err != nil {
				return err
			}
		}
	default:
		return say(wire.Message{ID: req.ID, Error: "no such scenario: " + req.Plan.Scenario})
	}
	return say(wire.Message{ID: req.ID, Done: true, Sum: sum})
}
