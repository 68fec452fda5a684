package main

import (
	"errors"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/stressor/profile"
)

// Command lines that articles have their readers type. The stressor understands those of
// stress-ng, of stress and of bigmem as far as they are about memory, and does with workers
// of its own what these programs do.

// A form is one of these programs.
type form struct {
	name string
	// total: the bytes are those of all workers together, not of each.
	total bool
	// adj: workers make themselves the first to be killed.
	adj bool
	// restarts: a worker that is killed is replaced. If not, the run has failed.
	restarts bool
}

var forms = map[string]form{
	"stress-ng": {name: "stress-ng", total: true, adj: true, restarts: true},
	"stress":    {name: "stress"},
	"bigmem":    {name: "bigmem"},
}

// A crowd is the workers that a command line asks for.
type crowd struct {
	form
	workers   int
	bytes     int64 // of each worker
	keep      bool  // what is taken is held; if not, it is given back and taken again
	timeoutNS int64 // 0: none
	dryRun    bool
	progress  bool
	json      bool
}

// formOf finds the program that a command line is meant for, and the rest of the line. A
// link to the stressor may have its name; options without a name are those of stress-ng.
func formOf(called string, args []string) (form, []string, bool) {
	if f, ok := forms[called[strings.LastIndexByte(called, '/')+1:]]; ok {
		return f, args, true
	}
	if len(args) == 0 {
		return form{}, nil, false
	}
	if f, ok := forms[args[0]]; ok {
		return f, args[1:], true
	}
	if strings.HasPrefix(args[0], "-") {
		return forms["stress-ng"], args, true
	}
	return form{}, nil, false
}

// parseCrowd reads the options of one of the programs.
func parseCrowd(f form, args []string) (crowd, error) {
	c := crowd{form: f}
	if f.name == "bigmem" {
		c.workers, c.keep = 1, true
	} else {
		c.bytes = 256 << 20 // the default of both
	}
	for len(args) > 0 {
		option, value, joined := strings.Cut(args[0], "=")
		args = args[1:]
		takes := optionTakes(option)
		if takes && !joined {
			if len(args) == 0 {
				return c, errors.New(option + ": what?")
			}
			value, args = args[0], args[1:]
		}
		if joined && !takes {
			return c, errors.New(option + " takes no value")
		}
		if err := c.option(option, value); err != nil {
			return c, fail(option, err)
		}
	}
	switch {
	case c.workers <= 0:
		return c, errors.New("--vm: how many workers?")
	case c.bytes <= 0:
		return c, errors.New("how much memory?")
	}
	if c.total {
		c.bytes /= int64(c.workers)
	}
	c.bytes = roundUp(c.bytes, pageSize)
	return c, nil
}

func optionTakes(option string) bool {
	switch option {
	case "--vm", "-m", "--vm-bytes", "--vm-hang", "--timeout", "-t", "-o", "--output":
		return true
	}
	return false
}

func (c *crowd) option(option, value string) (err error) {
	switch option {
	case "--vm", "-m":
		if c.workers, err = strconv.Atoi(value); err != nil || c.workers < 1 || c.workers > 4096 {
			err = errors.New(value + " is not a number of workers from 1 to 4096")
		}
	case "--vm-bytes":
		c.bytes, err = amount(value)
	case "--vm-keep":
		c.keep = true
	case "--vm-hang":
		if value != "0" {
			return errors.New("write 0: only holding for ever is done here")
		}
		c.keep = true
	case "--timeout", "-t":
		c.timeoutNS, err = period(value)
	case "--dry-run", "-n":
		c.dryRun = true
	case "--progress":
		c.progress = true
	case "-o", "--output":
		if value != "json" {
			return errors.New("write json")
		}
		c.json = true
	case "--oomable", "--no-oom-adjust":
		c.restarts, c.adj = c.restarts && option != "--oomable", c.adj && option != "--no-oom-adjust"
	default:
		if c.name == "bigmem" && !strings.HasPrefix(option, "-") {
			c.bytes, err = amount(option)
			return err
		}
		return errors.New("is not understood; " + c.name + " may be told --vm, --vm-bytes, --vm-keep, --vm-hang 0, " +
			"--timeout, --dry-run, --progress and -o json here")
	}
	return err
}

// amount reads a size as these programs do: K, M and G are powers of two, and a percentage
// is one of the memory that is available.
func amount(text string) (int64, error) {
	wrong := errors.New(strconv.Quote(text) + " is not a size; write 200M, 9.5G or 80%")
	number := strings.TrimRight(text, "bBkKmMgGtT%i")
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || n <= 0 || math.IsInf(n, 0) {
		return 0, wrong
	}
	switch strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(text[len(number):]), "b"), "i") {
	case "":
	case "k":
		n *= 1 << 10
	case "m":
		n *= 1 << 20
	case "g":
		n *= 1 << 30
	case "t":
		n *= 1 << 40
	case "%":
		available, err := memAvailable()
		if err != nil {
			return 0, err
		}
		n *= float64(available) / 100
	default:
		return 0, wrong
	}
	if n > 1<<60 {
		return 0, errors.New(text + " is more memory than a machine can have")
	}
	return int64(n), nil
}

func memAvailable() (int64, error) {
	text, err := readFile("/proc/meminfo")
	if err != nil {
		return 0, fail("reading /proc/meminfo", err)
	}
	_, rest, _ := strings.Cut(string(text), "MemAvailable:")
	number, _, found := strings.Cut(strings.TrimSpace(rest), " kB")
	kb, err := strconv.ParseInt(number, 10, 64)
	if !found || err != nil {
		return 0, errors.New("/proc/meminfo has no line MemAvailable: with a number of kB")
	}
	return kb << 10, nil
}

// period reads a time: a number of seconds, or one with s, m, h or d.
func period(text string) (int64, error) {
	units := map[string]float64{"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
	number := strings.TrimRight(text, "smhd")
	n, err := strconv.ParseFloat(number, 64)
	unit, known := units[text[len(number):]]
	if err != nil || !known || n <= 0 || n*unit > 1e9 {
		return 0, errors.New(strconv.Quote(text) + " is not a time; write 60s or 5m")
	}
	return int64(n * unit * 1e9), nil
}

// words are what each worker is told.
func (c crowd) words() []string {
	size := strconv.FormatInt(c.bytes, 10)
	if c.keep {
		return []string{"touch=" + size, "hold"}
	}
	return []string{"sawtooth=" + size}
}

// plan says in words what will be done.
func (c crowd) plan() string {
	text := c.name + ": " + strconv.Itoa(c.workers) + " worker"
	if c.workers > 1 {
		text += "s"
	}
	text += " with " + profile.Quantity(c.bytes) + " each, " + profile.Quantity(c.bytes*int64(c.workers)) + " in all"
	if !c.keep {
		text += ", given back and taken again"
	}
	if c.adj {
		text += ", oom_score_adj 1000"
	}
	if c.restarts {
		text += "; who is killed is replaced"
	}
	if c.timeoutNS > 0 {
		text += "; for " + seconds(c.timeoutNS)
	}
	return text
}

func seconds(ns int64) string { return strconv.FormatFloat(float64(ns)/1e9, 'f', 2, 64) + "s" }

// inForm carries out such a command line.
func inForm(f form, args []string) int {
	c, err := parseCrowd(f, args)
	if err != nil {
		return complain(f.name+": "+err.Error()+"; try oomlab-stressor --help", profile.ExitUsage)
	}
	if c.dryRun {
		return say(c.plan() + "\neach: oomlab-stressor " + strings.Join(c.words(), " "))
	}
	if !sameEverywhere() {
		return complain(f.name+": "+execSelf(os.Args).Error(), profile.ExitFailed)
	}
	return c.run()
}
