package observe

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/bpf"
	"github.com/oomlab/oomlab/harness/golden"
)

// TestGuestRecord prints the samples of a group kill and of a member that is
// not killed, as they were in the ring buffer.
func TestGuestRecord(t *testing.T) {
	if !golden.Record() || os.Getpid() != 1 {
		t.Skip("needs " + golden.Variable + " and a virtual machine")
	}
	dir, _ := memcg(t, 64<<20)
	if err := os.WriteFile(dir+"/memory.oom.group", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	progs, err := bpf.Open(t.Context(), bpf.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer progs.Close()
	small := start(t, dir, 2049)
	small.ready(t)
	start(t, dir, 0).killed(t)
	small.killed(t)
	if err := progs.Flush(); err != nil {
		t.Fatal(err)
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("kernel: %s\n", unix.ByteSliceToString(uts.Release[:]))
	for {
		e, err := progs.Next()
		if errors.Is(err, bpf.ErrFlushed) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		var sample bytes.Buffer
		if err := binary.Write(&sample, binary.NativeEndian, e.Event); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("sample: %x\n", sample.Bytes())
	}
}

// writeSamples keeps what TestGuestRecord printed on a console.
func writeSamples(t *testing.T, console string) {
	t.Helper()
	var release string
	var samples strings.Builder
	for line := range strings.Lines(console) {
		if text, ok := strings.CutPrefix(line, "kernel: "); ok {
			release = strings.TrimSpace(text)
		}
		if text, ok := strings.CutPrefix(line, "sample: "); ok {
			samples.WriteString(text)
		}
	}
	if release == "" || samples.Len() == 0 {
		t.Fatal("nothing was recorded")
	}
	path := filepath.Join("testdata", "linux-"+release+".samples")
	golden.Write(t, path, []byte(samples.String()))
}

// TestSamples translates samples that were recorded on real kernels.
func TestSamples(t *testing.T) {
	files, err := filepath.Glob("testdata/*.samples")
	if err != nil || len(files) < 2 {
		t.Fatalf("%d recordings, %v", len(files), err)
	}
	constraints := map[int32]string{0: "none", 3: "memcg"}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			lines := bufio.NewScanner(bytes.NewReader(text))
			for seq := uint64(1); lines.Scan(); seq++ {
				sample, err := hex.DecodeString(lines.Text())
				if err != nil {
					t.Fatal(err)
				}
				e, err := bpf.Decode(sample)
				if err != nil {
					t.Fatal(err)
				}
				event := oomEvent(e.Event,
					func(c int32) string { return constraints[c] },
					func(pid int) int { return pid - 1000 })
				event.OOM.Seq = seq
				if err := json.NewEncoder(&got).Encode(event); err != nil {
					t.Fatal(err)
				}
			}
			golden.File(t, strings.TrimSuffix(file, ".samples")+".jsonl", got.Bytes())
		})
	}
}
