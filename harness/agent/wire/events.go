package wire

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/oomlab/oomlab/harness/evidence"
)

// Events are what happened since the last message, in order. On the line they
// are deflated (RFC 1951) and then base64: an emulated serial port takes one
// byte at a time, and one report of the kernel's log has some 90 records that
// look much alike.
type Events []evidence.Event

// maxEvents bounds what the events of one message may inflate to, in bytes of
// JSON.
const maxEvents = 64 << 20

// deflate is what the events of this process are deflated with. It is kept: it has
// tables of 800 KiB, and a message is sent ten times a second, also while the machine
// has no memory left.
var deflate struct {
	sync.Mutex
	to     bytes.Buffer
	writer *flate.Writer
}

// MarshalJSON deflates the events.
func (e Events) MarshalJSON() ([]byte, error) {
	plain, err := json.Marshal([]evidence.Event(e))
	if err != nil {
		return nil, err
	}
	deflate.Lock()
	defer deflate.Unlock()
	deflate.to.Reset()
	if deflate.writer == nil {
		if deflate.writer, err = flate.NewWriter(&deflate.to, flate.BestSpeed); err != nil {
			return nil, err
		}
	}
	deflate.writer.Reset(&deflate.to)
	if _, err := deflate.writer.Write(plain); err != nil {
		return nil, err
	}
	if err := deflate.writer.Close(); err != nil {
		return nil, err
	}
	return json.Marshal(deflate.to.Bytes())
}

// UnmarshalJSON inflates the events. What is cut, or inflates to more than
// 64 MiB, is an error.
func (e *Events) UnmarshalJSON(data []byte) error {
	var packed []byte
	if err := json.Unmarshal(data, &packed); err != nil {
		return err
	}
	plain, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), maxEvents+1))
	if err != nil {
		return fmt.Errorf("events: %w", err)
	}
	if len(plain) > maxEvents {
		return fmt.Errorf("events: more than %d bytes", maxEvents)
	}
	return json.Unmarshal(plain, (*[]evidence.Event)(e))
}
