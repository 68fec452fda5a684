package kernels

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// built are the images that make leaves in a kernel tree, or in the directory of O=.
var built = []string{"arch/x86/boot/bzImage", "arch/arm64/boot/Image"}

// isTree reports whether dir is a kernel tree, or a directory that one was built in.
func isTree(dir string) bool {
	for _, name := range append([]string{"Kbuild", "modules.order"}, built...) {
		if exists(filepath.Join(dir, name)) {
			return true
		}
	}
	return false
}

// imageOf is the image that a path means: itself, or what was built last in the kernel tree
// that it names. tree is that; empty: the path is that of a file.
func imageOf(path string) (image, tree string, err error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return path, "", nil // what is wrong with it says who reads it
	}
	var last time.Time
	for _, name := range built {
		file := filepath.Join(path, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.ModTime().After(last) {
			image, last = file, info.ModTime()
		}
	}
	if image == "" {
		return "", "", unknownError{fmt.Errorf("kernel %s: there is no kernel in that directory: neither %s; make "+
			"bzImage builds it in a kernel tree", path, strings.Join(built, " nor "))}
	}
	return image, path, nil
}

// orderFile lists the modules that a tree has built, in the order of the Makefiles.
const orderFile = "modules.order"

// orderedModules are the modules that a kernel tree has built, by their names: modules.order
// has their paths in the tree, of the .o files since 6.3.
func orderedModules(tree string) (map[string]string, error) {
	data, err := os.ReadFile(filepath.Join(tree, orderFile))
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSpace(line), ".o"), ".ko")
		if line == "" {
			continue
		}
		if file := filepath.Join(tree, filepath.FromSlash(line)+".ko"); exists(file) {
			files[moduleName(file)] = file
		}
	}
	return files, nil
}
