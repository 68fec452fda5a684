package wire_test

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
)

func TestEventsComeBackAsTheyWere(t *testing.T) {
	var all wire.Events
	for i := range 90 {
		all = append(all, evidence.Event{AtNS: int64(i), Source: evidence.Kmsg, Kind: evidence.Record,
			Text: "oom_score_adj \x5c \" \u2028 " + strings.Repeat("x", i)})
	}
	for _, want := range []wire.Events{all, all[:1]} {
		line, err := json.Marshal(wire.Message{ID: 3, Events: want})
		if err != nil {
			t.Fatal(err)
		}
		if bytes.ContainsRune(line, '\n') {
			t.Errorf("%q is more than one line", line)
		}
		var got wire.Message
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.Events, want) {
			t.Errorf("%d events came back as %+v", len(want), got.Events)
		}
	}
	plain, _ := json.Marshal([]evidence.Event(all))
	if line, _ := json.Marshal(all); len(line) > len(plain)/4 {
		t.Errorf("%d bytes of events are %d on the line, want a quarter at most", len(plain), len(line))
	}
}

func TestEventsThatAreNotWhole(t *testing.T) {
	line, err := json.Marshal(wire.Events{{Text: "one"}})
	if err != nil {
		t.Fatal(err)
	}
	var packed []byte
	if err := json.Unmarshal(line, &packed); err != nil {
		t.Fatal(err)
	}
	cut, _ := json.Marshal(packed[:len(packed)-3])
	var bomb bytes.Buffer
	w, _ := flate.NewWriter(&bomb, flate.BestSpeed)
	zeros := make([]byte, 1<<20)
	for range 65 {
		w.Write(zeros)
	}
	w.Close()
	big, _ := json.Marshal(bomb.Bytes())
	for _, tt := range []struct{ name, in, want string }{
		{"cut short", string(cut), "events: unexpected EOF"},
		{"too much", string(big), "events: more than 67108864 bytes"},
		{"not deflated", `"Bw=="`, "events: flate: corrupt input"},
		{"not base64", `"?"`, "illegal base64 data"},
		{"no text", `{}`, "cannot unmarshal object"},
	} {
		var e wire.Events
		if err := json.Unmarshal([]byte(tt.in), &e); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.want)
		}
	}
}

// TestEventsArePackedInKeptMemory: an agent sends messages while the machine has no
// memory left; what deflates them has tables of 800 KiB, and is made once.
func TestEventsArePackedInKeptMemory(t *testing.T) {
	pack := func() {
		if _, err := json.Marshal(wire.Events{{AtNS: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	pack()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		pack()
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / 100; each > 64<<10 {
		t.Errorf("a message of one event allocates %d bytes", each)
	}
}
