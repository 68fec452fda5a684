package wire

import "bytes"

// ScanLines is a split function for a [bufio.Scanner] that returns each line
// without its end, as [bufio.ScanLines] does, but not a last line that has no end:
// whoever wrote it went down in the middle of it, as a machine does that panics,
// and its beginning is no message.
func ScanLines(data []byte, _ bool) (advance int, token []byte, err error) {
	end := bytes.IndexByte(data, '\n')
	if end < 0 {
		return 0, nil, nil
	}
	return end + 1, bytes.TrimSuffix(data[:end], []byte("\r")), nil
}
