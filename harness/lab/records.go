package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/oomlab/oomlab/harness"
	"github.com/oomlab/oomlab/harness/verdict"
)

// Altered says what in a run directory is not as it was recorded.
type Altered struct {
	Dir  string
	What []string
}

func (a *Altered) Error() string {
	return a.Dir + ": " + strings.Join(a.What, "\n"+a.Dir+": ")
}

// Records reads run directories, and keeps what is to be said of them.
type Records struct {
	// Rejudge reads what was edited, too: somebody did so on purpose.
	Rejudge bool
	// Unsealed are directories without a manifest.
	Unsealed []string
	// Edited is what is not as it was recorded, and was read all the same.
	Edited []string
	// Differ are the results that say otherwise today than when they were recorded.
	Differ []string
}

// Load reads a run directory. One that is not what was recorded is an [*Altered].
func (r *Records) Load(dir string) (verdict.Input, error) {
	sealed, altered, err := harness.Unseal(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return verdict.Input{}, err
	}
	if len(altered) > 0 && !r.Rejudge {
		return verdict.Input{}, &Altered{dir, altered}
	}
	in, err := verdict.Load(os.DirFS(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return in, &BadRun{fmt.Sprintf("%s is not a run directory: %v", dir, err), makesRuns}
	}
	if err != nil {
		return in, fmt.Errorf("%s: %w", dir, err)
	}
	if name := in.Meta.Manifest; name != "" && !sealed {
		altered = append(altered, fmt.Sprintf("%s is missing", verdict.ManifestFile))
		if !r.Rejudge {
			return in, &Altered{dir, altered}
		}
	} else if !sealed {
		r.Unsealed = append(r.Unsealed, dir)
	}
	for _, what := range altered {
		r.Edited = append(r.Edited, dir+": "+what)
	}
	return in, nil
}

// Judge reads a run directory and judges it again. It takes note where result.json
// says otherwise: another version of oomlab judged the run, or somebody edited it.
func (r *Records) Judge(dir string) (verdict.Input, verdict.Result, error) {
	in, err := r.Load(dir)
	if err != nil {
		return in, verdict.Result{}, err
	}
	result := verdict.Judge(in)
	name := filepath.Join(dir, verdict.ResultFile)
	recorded, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return in, result, nil // without one there is nothing to differ from; a manifest would miss it
	}
	if err != nil {
		return in, result, err
	}
	again, err := harness.Document(result)
	if err != nil {
		return in, result, err
	}
	if line, was, is := firstDifference(recorded, again); line > 0 {
		r.Differ = append(r.Differ, fmt.Sprintf("%s:%d says %s; judged today it is %s", name, line, was, is))
	}
	return in, result, nil
}

// firstDifference is the first line in which two texts differ, counted from 1, and
// how it begins in each. 0: they are the same.
func firstDifference(a, b []byte) (line int, inA, inB string) {
	if bytes.Equal(a, b) {
		return 0, "", ""
	}
	linesA, linesB := bytes.Split(a, []byte("\n")), bytes.Split(b, []byte("\n"))
	for i := 0; ; i++ {
		switch {
		case i >= len(linesA):
			return i + 1, "nothing", excerpt(linesB[i])
		case i >= len(linesB):
			return i + 1, excerpt(linesA[i]), "nothing"
		case !bytes.Equal(linesA[i], linesB[i]):
			return i + 1, excerpt(linesA[i]), excerpt(linesB[i])
		}
	}
}

// excerpt is the beginning of a line of a file that may hold anything.
func excerpt(line []byte) string {
	const most = 80
	text := strings.TrimSpace(string(line))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	if quoted := fmt.Sprintf("%q", text); strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`) != text {
		return quoted
	}
	return "`" + text + "`"
}

// Verify reports whether a file of a run directory is what was recorded. A file
// elsewhere always is.
func Verify(file string) error {
	dir := filepath.Dir(file)
	if _, err := os.Stat(filepath.Join(dir, verdict.MetaFile)); err != nil {
		return nil
	}
	_, altered, err := harness.Unseal(dir)
	if err != nil {
		return err
	}
	for _, what := range altered {
		if strings.HasPrefix(what, filepath.Base(file)+" ") {
			return &Altered{dir, []string{what}}
		}
	}
	return nil
}
