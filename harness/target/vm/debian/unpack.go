package debian

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// Unpack calls each for every entry of a package's file system, with a reader of
// its content. dpkg-deb knows every compression that packages have had.
func Unpack(ctx context.Context, deb string, each func(h *tar.Header, content io.Reader) error) (err error) {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w; this comes from Debian packages: install dpkg", err)
	}
	readErr := untar(out, each)
	if readErr != nil {
		cmd.Cancel()
	} else {
		io.Copy(io.Discard, out) // the padding behind the archive's end
	}
	if err := cmd.Wait(); err != nil && readErr == nil {
		return fmt.Errorf("dpkg-deb: %w: %s", err, Reason(stderr.String()))
	}
	return readErr
}

func untar(r io.Reader, each func(h *tar.Header, content io.Reader) error) error {
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := each(h, tr); err != nil {
			return err
		}
	}
}
