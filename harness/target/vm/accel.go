package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/oomlab/oomlab/harness/target/vm/cache"
)

// kvmDevice is where the kernel offers virtualisation.
const kvmDevice = "/dev/kvm"

// trialName is the file of the cache that remembers the trial.
const trialName = "accel.json"

// trial is what is remembered about this machine's accelerator. /dev/kvm may
// exist and not work: opening it can hang for ever, and a guest can stop at an
// instruction that a nested hypervisor does not know. Only booting a guest tells.
type trial struct {
	Boot  string `json:"boot"` // the host's boot id
	QEMU  string `json:"qemu"`
	Accel string `json:"accel"`
	Why   string `json:"why"`
}

// accelerator says which accelerator to use, and why. tried is false when that
// has to be found out by booting with KVM.
func (v *VM) accelerator() (t trial, tried bool) {
	switch {
	case v.o.Accel != "":
		return trial{Accel: v.o.Accel, Why: "asked for"}, true
	case !boardOf(v.o.Kernel).accelerates():
		return trial{Accel: TCG, Why: boardOf(v.o.Kernel).why()}, true
	case !exists(kvmDevice):
		return trial{Accel: TCG, Why: "there is no " + kvmDevice}, true
	}
	t, err := v.remembered()
	return t, err == nil
}

// KnownAccel says which accelerator VMs will use, and why; empty: the first VM
// finds out. cacheDir is that of the VMs. Nothing is tried: opening /dev/kvm can
// hang, so only the trial boot of a VM, which has a deadline, does.
func KnownAccel(cacheDir string) (accel, why string) {
	if !exists(kvmDevice) {
		return TCG, "there is no " + kvmDevice
	}
	var t trial
	err := cache.ReadJSON(filepath.Join(cacheDir, trialName), &t)
	if boot, bootErr := bootID(); err != nil || bootErr != nil || t.Boot != boot {
		return "", kvmDevice + " exists; the first VM finds out whether it works"
	}
	return t.Accel, t.Why
}

func exists(name string) bool {
	_, err := os.Lstat(name) // looking does not open
	return err == nil
}

func (v *VM) remembered() (trial, error) {
	var t trial
	if err := cache.ReadJSON(v.trialFile(), &t); err != nil {
		return trial{}, err
	}
	if boot, err := bootID(); err != nil || t.Boot != boot || t.QEMU != v.version ||
		(t.Accel != KVM && t.Accel != TCG) {
		return trial{}, fmt.Errorf("%s is about another boot of this machine or another QEMU", v.trialFile())
	}
	return t, nil
}

func (v *VM) trialFile() string { return filepath.Join(v.o.CacheDir, trialName) }

func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}

// tryKVM boots a guest with KVM, within a deadline, and remembers whether that
// worked. The snapshot of a successful trial is the one that will be used.
func (v *VM) tryKVM(ctx context.Context) (*snapshot, trial, error) {
	unlock, err := cache.Lock(ctx, v.trialFile()+".lock")
	if cache.CannotWrite(err) {
		return v.readOnly(err)
	}
	if err != nil {
		return nil, trial{}, err
	}
	defer unlock()
	if t, err := v.remembered(); err == nil {
		return nil, t, nil // somebody else found out while we waited
	}
	v.o.Log(fmt.Sprintf("trying whether KVM works here, for at most %v", bootWait[KVM]))
	t := trial{QEMU: v.version, Accel: KVM, Why: "a trial boot worked"}
	s, err := v.ensure(ctx, KVM)
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			return nil, trial{}, err // which says nothing about KVM
		}
		t.Accel, t.Why = TCG, fmt.Sprintf("KVM does not work here: %v", firstLine(err))
	}
	if t.Boot, err = bootID(); err != nil {
		return nil, trial{}, err
	}
	data, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return nil, trial{}, err
	}
	if err := cache.Write(v.trialFile(), append(data, '\n')); err != nil {
		return nil, trial{}, err
	}
	v.o.Log(fmt.Sprintf("using %s: %s", t.Accel, t.Why))
	return s, t, nil
}

// readOnly chooses the accelerator for which a read-only cache has a snapshot. The
// result of a trial could not be saved there.
func (v *VM) readOnly(why error) (*snapshot, trial, error) {
	for _, accel := range []string{KVM, TCG} {
		s, err := loadSnapshot(filepath.Join(v.o.CacheDir, "snapshots", v.identity(accel)))
		if err == nil {
			return s, trial{Accel: accel, Why: "the cache is read-only and has a snapshot for it"}, nil
		}
	}
	return nil, trial{}, fmt.Errorf("vm: no snapshot of %s in the cache, and none can be created: %w",
		v.o.Kernel.Release, why)
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
