package debian

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
)

// ErrNoPackage is wrapped by the error about a package that the mirror has not.
var ErrNoPackage = errors.New("the mirror has no such package")

// noPackage are apt's words for a name that it cannot install.
var noPackage = regexp.MustCompile(
	`Unable to locate package ([^\s;]+)|Package '?([^' ]+)'? has no installation candidate`)

// missing are the names that apt said it cannot install.
func missing(reason string) (names []string) {
	for _, m := range noPackage.FindAllStringSubmatch(reason, -1) {
		names = append(names, m[1]+m[2])
	}
	return names
}

// Closure is what has to be installed for names with all that they depend on and
// all essential packages, on a machine that has nothing. The lists of the suite are
// those of the last [Apt.Packages].
func (a *Apt) Closure(ctx context.Context, names []string) (all []string, size kernel.Bytes, err error) {
	argv := append([]string{"apt-get", "-q", "-y", "--no-install-recommends", "--print-uris",
		"-o", "Acquire::ForceHash=SHA256", "install", "?essential"},
		names...)
	out, err := a.run(ctx, "", argv...)
	if err != nil {
		if names := missing(err.Error()); len(names) > 0 {
			return nil, 0, fmt.Errorf("%s: %w", strings.Join(names, ", "), ErrNoPackage)
		}
		return nil, 0, err
	}
	for _, f := range archives(string(out)) {
		name, _, _ := strings.Cut(f.name, "_")
		all, size = append(all, name), size+kernel.Bytes(f.size)
	}
	if len(all) == 0 {
		return nil, 0, fmt.Errorf("apt-get would download nothing for %s", strings.Join(names, " "))
	}
	return all, size, nil
}
