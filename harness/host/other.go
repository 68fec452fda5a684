//go:build !linux || notlinux

package host

import (
	"io/fs"
	"os"
	"syscall"
	"time"
)

// Linux reports whether this is a Linux.
const Linux = false

// There are no such flags everywhere.
const (
	NonBlock = 0
	NoFollow = 0
)

func Lock(*os.File) error                       { return ErrNotLinux }
func TryLock(*os.File) (bool, error)            { return false, ErrNotLinux }
func SeekData(*os.File, int64) (int64, error)   { return 0, ErrNotLinux }
func SeekHole(*os.File, int64) (int64, error)   { return 0, ErrNotLinux }
func Free(string) (int64, error)                { return 0, ErrNotLinux }
func ProcessorTime(int) time.Duration           { return 0 }
func Allocated(info fs.FileInfo) int64          { return info.Size() }
func Mine(fs.FileInfo) bool                     { return false }
func Memory(string) (*os.File, error)           { return nil, ErrNotLinux }
func Streams(string) (p [2]*os.File, err error) { return p, ErrNotLinux }
func Datagrams(string) ([2]*os.File, error)     { return [2]*os.File{}, ErrNotLinux }
func Rights([]*os.File) []byte                  { return nil }
func DiesWithUs() *syscall.SysProcAttr          { return nil }
func Contained() *syscall.SysProcAttr           { return nil }
func OutlivesUs() *syscall.SysProcAttr          { return nil }
