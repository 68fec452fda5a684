package main

import (
	"errors"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/stressor/profile"
)

// byHand runs the steps that a person wrote as arguments.
func byHand(args []string) int {
	out := &reporter{fd: unix.Stderr, name: "oomlab-stressor", forHumans: true}
	p, err := parseSteps(args)
	if err == nil {
		err = p.Validate()
	}
	if err != nil {
		return out.fatal(profile.ExitUsage, errors.New(err.Error()+"; try oomlab-stressor --help"))
	}
	if !sameEverywhere() {
		return out.fatal(profile.ExitFailed, execSelf(os.Args))
	}
	var o options
	if p.DeadlineMS > 0 {
		o.deadline = now() + p.DeadlineMS*1e6
	}
	return work(p, o, out)
}

// parseSteps reads steps such as touch=64Mi,rate=32Mi/s. A step is its name,
// its amount, and what qualifies it.
func parseSteps(args []string) (profile.Profile, error) {
	p := profile.Profile{Name: "oomlab-stressor"}
	for _, arg := range args {
		if value, ok := strings.CutPrefix(arg, "deadline="); ok {
			ms, err := milliseconds(value)
			if err != nil {
				return p, fail(arg, err)
			}
			p.DeadlineMS = ms
			continue
		}
		s, err := parseStep(arg)
		if err != nil {
			return p, fail(arg, err)
		}
		p.Steps = append(p.Steps, s)
	}
	return p, nil
}

func parseStep(arg string) (profile.Step, error) {
	first, rest, more := strings.Cut(arg, ",")
	op, amount, given := strings.Cut(first, "=")
	s := profile.Step{Op: profile.Op(op)}
	var err error
	switch {
	case s.Op == profile.Fork || s.Op == profile.Wait:
		err = errors.New("is for scenarios alone")
	case s.Op == profile.Hold || s.Op == profile.Leak:
		if given {
			err = errors.New("takes no amount")
		}
	case s.Op == profile.Sleep:
		s.DurationMS, err = milliseconds(amount)
	case s.Op == profile.Exit:
		s.Code, err = strconv.Atoi(amount)
	case s.Op.Row().Takes() || s.Op == profile.Free || s.Op == profile.SwapOut:
		s.Bytes, err = parseQuantity(amount)
	}
	for err == nil && more {
		var word, key, value string
		word, rest, more = strings.Cut(rest, ",")
		key, value, _ = strings.Cut(word, "=")
		switch {
		case key == "rate" && s.Op.Row().Takes():
			s.Rate, err = parseQuantity(strings.TrimSuffix(value, "/s"))
		case key == "path" && (s.Op == profile.File || s.Op == profile.Write):
			s.Path = value
		default:
			err = errors.New(word + " does not go with " + op)
		}
	}
	return s, err
}

func milliseconds(s string) (int64, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Millisecond {
		return 0, errors.New(strconv.Quote(s) + " is not a time; write 500ms or 1h")
	}
	return d.Milliseconds(), nil
}

// suffixes of Kubernetes quantities, largest unit of each kind first.
var suffixes = []struct {
	name string
	size int64
}{
	{"Ti", 1 << 40}, {"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10},
	{"T", 1e12}, {"G", 1e9}, {"M", 1e6}, {"k", 1e3}, {"", 1},
}

// parseQuantity reads what package kernel reads in scenarios, which is not
// linked here.
func parseQuantity(s string) (int64, error) {
	for _, suffix := range suffixes {
		number, ok := strings.CutSuffix(s, suffix.name)
		if !ok {
			continue
		}
		f, err := strconv.ParseFloat(number, 64)
		bytes := math.Ceil(f * float64(suffix.size))
		if err != nil || strings.Trim(number, "0123456789.") != "" || bytes >= math.MaxInt64 {
			break
		}
		return int64(bytes), nil
	}
	return 0, errors.New(strconv.Quote(s) + " is not an amount of memory; write bytes or 64Mi, 1.5Gi, 200M")
}

// quantity writes an amount with the largest binary suffix that keeps it whole.
func quantity(n int64) string {
	for _, suffix := range suffixes[:4] {
		if n != 0 && n%suffix.size == 0 {
			return strconv.FormatInt(n/suffix.size, 10) + suffix.name
		}
	}
	return strconv.FormatInt(n, 10)
}
