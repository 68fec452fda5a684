package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"

	"github.com/oomlab/oomlab/harness/target/vm/cache"
)

// unpack puts a binary of the payload into the cache, where it can be executed,
// unless it is there already. Its directory is named after its contents.
func unpack(name string, data []byte) (path string, err error) {
	root, err := cache.Root()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	dir := filepath.Join(root, "payload", hex.EncodeToString(sum[:16]))
	path = filepath.Join(dir, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return path, cache.Publish(dir, func(tmp string) error {
		return os.WriteFile(filepath.Join(tmp, name), data, 0o755)
	})
}
