package vm

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// TestKnownAccel: the trial of this boot is known; that of another one, half a
// file and none are not.
func TestKnownAccel(t *testing.T) {
	if !exists(kvmDevice) {
		if accel, why := KnownAccel(t.TempDir()); accel != TCG || why != "there is no "+kvmDevice {
			t.Errorf("%s, %s", accel, why)
		}
		return
	}
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		file any
		want string
	}{
		{"none", nil, ""},
		{"of this boot", trial{Boot: boot, Accel: KVM}, KVM},
		{"that failed", trial{Boot: boot, Accel: TCG}, TCG},
		{"of another boot", trial{Boot: "other", Accel: KVM}, ""},
		{"half a file", "torn", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if tt.file != nil {
				data, err := json.Marshal(tt.file)
				if err == nil {
					err = os.WriteFile(filepath.Join(dir, trialName), data, 0o644)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if got, why := KnownAccel(dir); got != tt.want {
				t.Errorf("%q: %s; want %q", got, why, tt.want)
			}
		})
	}
}
