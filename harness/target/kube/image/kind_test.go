package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeepKind(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenKind(dir); !errors.Is(err, ErrNoKind) {
		t.Errorf("opened nothing: %v", err)
	}
	disk := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(disk, []byte("disk"), 0o644); err != nil {
		t.Fatal(err)
	}
	k, err := KeepKind(context.Background(), dir, disk, "v1.2.3")
	if err != nil || k.Version != "v1.2.3" || k.DiskSum == "" {
		t.Fatalf("kept %+v, %v", k, err)
	}
	if info, err := os.Stat(k.Disk()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the disk is %v, %v", info, err)
	}
	if err := os.Truncate(k.Disk(), 2); err != nil {
		t.Fatal(err)
	}
	const hint = "damaged; rebuild it with make kind-disk"
	if _, err := OpenKind(dir); err == nil || !strings.Contains(err.Error(), hint) {
		t.Errorf("a disk that was cut: %v", err)
	}
	none := filepath.Join(dir, "none")
	if _, err := KeepKind(context.Background(), dir, none, "v1"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("kept a disk that is not there: %v", err)
	}
}
