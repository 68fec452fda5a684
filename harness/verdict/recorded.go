package verdict

import (
	"embed"
	"io/fs"
)

//go:embed testdata
var testdata embed.FS

// Recorded are runs that were recorded on real kernels, KERNEL/RUN. They are
// what `oomlab selftest` corrupts, and tests judge them for ever.
func Recorded() fs.FS {
	sub, err := fs.Sub(testdata, "testdata")
	if err != nil {
		panic(err) // testdata is a valid path
	}
	return sub
}
