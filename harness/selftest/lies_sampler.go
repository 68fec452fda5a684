package selftest

import (
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
)

func init() { lies[evidence.Sampler] = (*liar).sampler }

func (l *liar) sampler() {
	l.tellSamples("a sample was taken after the end",
		func(s []evidence.Event) { s[len(s)-1].AtNS += 3_600_000_000_000 })
	l.tellSamples("the samples run backwards", slices.Reverse[[]evidence.Event])
	l.tellSamples("more memory is free than there is", func(s []evidence.Event) {
		s[0].Sample.MemFree = 2 * l.in.Machine.MemTotal
	})
	l.tellSamples("a process that there is not", func(s []evidence.Event) {
		s[0].Sample.Processes = map[string]evidence.ProcessUsage{"nobody": {RSS: l.in.Machine.PageSize}}
	})
}

// tellSamples applies a change to a copy of the samples.
func (l *liar) tellSamples(name string, how func([]evidence.Event)) {
	in := l.in
	in.Samples = clone(l.in.Samples)
	how(in.Samples)
	l.lies = append(l.lies, Lie{l.witness, name, in})
}
