package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/oomlab/oomlab/harness/chaos"
)

// CampaignOptions say which kernels a campaign puts to the test.
type CampaignOptions struct {
	Kernels []string // one after the other; empty: the default one
	Lab     Options  // of each kernel
	Command []string // that repeats the campaign
	// Chaos is called for each kernel and says what is run on it.
	Chaos func() ChaosOptions
	// Shown is called with the directory of the campaign and what a kernel has
	// shown, as soon as that is kept.
	Shown func(dir string, s ChaosSummary) error
}

// Campaign puts one kernel after the other to the test. It keeps what each has
// shown in a directory of the campaign's own, which it returns; empty: nothing
// was begun. It ends at the first kernel that fails.
func Campaign(ctx context.Context, o CampaignOptions) (dir string, total chaos.Tally, err error) {
	if len(o.Kernels) == 0 {
		o.Kernels = []string{""}
	}
	for _, k := range o.Kernels {
		o.Lab.Kernel = k
		l, err := Open(o.Lab)
		if err != nil {
			return dir, total, err
		}
		summary, err := l.campaign(ctx, o.Chaos(), &dir)
		err = errors.Join(err, l.Close())
		if summary.Kernel != "" {
			total.Add(summary.Tally)
			summary.Command = o.Command
			if err != nil {
				summary.Cut = err.Error()
			}
			name := filepath.Join(dir, summary.FileName())
			err = errors.Join(err, WriteWhole(name, summary.Write), o.Shown(dir, summary))
		}
		if err != nil {
			return dir, total, err
		}
	}
	return dir, total, nil
}

// campaign puts the lab's kernel to the test. The first kernel that there is makes
// the directory.
func (l *Lab) campaign(ctx context.Context, o ChaosOptions, dir *string) (ChaosSummary, error) {
	if _, err := l.Kernel(ctx); err != nil {
		return ChaosSummary{}, err
	}
	if *dir == "" {
		var err error
		if *dir, err = newCampaign(l.o.RunsDir, o.Seed); err != nil {
			return ChaosSummary{}, err
		}
	}
	o.Dir = *dir
	return l.Chaos(ctx, o)
}

// newCampaign makes the directory of a campaign. One of an earlier campaign with
// the same seed is left as it is.
func newCampaign(runsDir string, seed uint64) (string, error) {
	if err := os.MkdirAll(runsDir, 0o755); err != nil {
		return "", err
	}
	name := filepath.Join(runsDir, fmt.Sprintf("chaos-%d", seed))
	dir := name
	for n := 2; ; n++ {
		err := os.Mkdir(dir, 0o755)
		if !errors.Is(err, fs.ErrExist) {
			return dir, err
		}
		dir = fmt.Sprintf("%s-%d", name, n)
	}
}

// KeptCampaign is what a campaign has left in its directory.
type KeptCampaign struct {
	Dir       string
	Summaries []chaos.Summary
	Runs      []string // run directories that were kept
}

// LoadCampaign reads the directory of a campaign. It reports whether it is one.
func LoadCampaign(dir string) (KeptCampaign, bool, error) {
	c := KeptCampaign{Dir: dir}
	// a wildcard in dir itself is one that os.DirFS does not see
	names, err := fs.Glob(os.DirFS(dir), chaos.SummaryPattern)
	if err != nil || len(names) == 0 {
		return c, false, err
	}
	for _, name := range names {
		name = filepath.Join(dir, name)
		s, err := readSummary(name)
		if err != nil {
			return c, true, &BadRun{fmt.Sprintf("%s: %v", name, err),
				"oomlab chaos writes it; the runs beside it can be named on their own"}
		}
		c.Summaries = append(c.Summaries, s)
	}
	runs, _, err := RunsIn(dir)
	c.Runs = runs.Dirs
	return c, true, err
}

func readSummary(name string) (chaos.Summary, error) {
	f, err := os.Open(name)
	if err != nil {
		return chaos.Summary{}, err
	}
	defer f.Close()
	return chaos.ReadSummary(f)
}
