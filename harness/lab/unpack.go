package lab

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/oomlab/oomlab/harness/target/vm/cache"
)

// unpack writes a binary of the payload to the cache, where it can be executed, unless
// the cache has the same bytes already. Its directory is named after its contents. A
// damaged file is reported to log.
func unpack(name string, data []byte, log func(string)) (path string, err error) {
	root, err := cache.Root()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	dir := filepath.Join(root, "payload", hex.EncodeToString(sum[:16]))
	path = filepath.Join(dir, name)
	have, err := os.ReadFile(path)
	info, statErr := os.Stat(path)
	if err == nil && statErr == nil && info.Mode()&0o100 != 0 && bytes.Equal(have, data) {
		return path, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		log(fmt.Sprintf("%s is damaged and is unpacked again", path))
	}
	return path, cache.Publish(dir, func(tmp string) error {
		return os.WriteFile(filepath.Join(tmp, name), data, 0o700)
	})
}
