package evidence

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// Write puts one event on a line of its own.
func Write(w io.Writer, e Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("event %s/%s: %w", e.Source, e.Kind, err)
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// maxLine bounds a line of events.jsonl; the largest events are log records
// and samples of many processes.
const maxLine = 8 << 20

// Read reads events.jsonl or samples.jsonl. An error begins with the number of the line;
// a torn last line, as a killed run leaves it, is an error too.
func Read(r io.Reader) ([]Event, error) {
	var events []Event
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("%d: %w", n, err)
		}
		events = append(events, e)
	}
	return events, lines.Err()
}
