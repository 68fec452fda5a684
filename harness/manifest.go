package harness

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/verdict"
)

// Seal writes the manifest of a run directory: the hash of every file in it, as
// sha256sum(1) writes them. It is the last thing that is written, when nobody has a
// file of the directory open any more, and is on disk only if all that it lists is.
// A directory without run.json holds no run, and gets none.
func Seal(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, verdict.MetaFile)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	sums, err := hashes(dir, true)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".manifest-*")
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		if _, err = fmt.Fprintf(tmp, "%s  %s\n", sums[name], name); err != nil {
			break
		}
	}
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(dir, verdict.ManifestFile))
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// notAFile stands for the hash of what is no regular file.
const notAFile = "no regular file"

// hashes are the SHA-256 sums of all files below dir, except of the manifest; synced:
// each is on disk.
func hashes(dir string, synced bool) (map[string]string, error) {
	sums := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil || name == verdict.ManifestFile {
			return err
		}
		if !d.Type().IsRegular() {
			sums[name] = notAFile
			return nil
		}
		sums[name], err = hashOf(path, synced)
		return err
	})
	return sums, err
}

func hashOf(path string, synced bool) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	if synced && err == nil {
		err = f.Sync()
	}
	return hex.EncodeToString(h.Sum(nil)), errors.Join(err, f.Close())
}

// Unseal compares a run directory with its manifest, and says what is not as it was
// recorded, file by file. sealed is false where there is no manifest.
func Unseal(dir string) (sealed bool, altered []string, err error) {
	recorded, err := readManifest(filepath.Join(dir, verdict.ManifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil, nil
	}
	if err != nil {
		return true, []string{err.Error()}, nil
	}
	sums, err := hashes(dir, false)
	if err != nil {
		return true, nil, err
	}
	for name, sum := range recorded {
		switch is, ok := sums[name]; {
		case !ok:
			altered = append(altered, fmt.Sprintf("%s is missing", shown(name)))
		case is != sum:
			altered = append(altered, fmt.Sprintf("%s is not what was recorded", shown(name)))
		}
	}
	for name := range sums {
		if _, ok := recorded[name]; !ok {
			altered = append(altered, fmt.Sprintf("%s was not recorded", shown(name)))
		}
	}
	slices.Sort(altered)
	return true, altered, nil
}

// shown is the name of a file that somebody else may have chosen.
func shown(name string) string {
	if quoted := fmt.Sprintf("%q", name); quoted[1:len(quoted)-1] != name {
		return quoted
	}
	return name
}

// maxManifest bounds a manifest in bytes: a run directory has about ten files.
const maxManifest = 1 << 20

func readManifest(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	recorded := map[string]string{}
	lines := bufio.NewScanner(io.LimitReader(f, maxManifest))
	for n := 1; lines.Scan(); n++ {
		sum, name, ok := strings.Cut(lines.Text(), "  ")
		if raw, err := hex.DecodeString(sum); !ok || err != nil || len(raw) != sha256.Size || name == "" {
			return nil, fmt.Errorf("%s:%d is no line of a manifest", verdict.ManifestFile, n)
		}
		recorded[name] = sum
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", verdict.ManifestFile, err)
	}
	if _, ok := recorded[verdict.MetaFile]; !ok {
		return nil, fmt.Errorf("%s does not list %s", verdict.ManifestFile, verdict.MetaFile)
	}
	return recorded, nil
}
