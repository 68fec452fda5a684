package vm

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"strings"
	"time"
)

// newsEvery is how often the console of a guest that boots is read for its progress.
const newsEvery = 2 * time.Second

// maxNews is how much of a console is read at a time.
const maxNews = 1 << 20

// news are the lines of a console that tell how far a boot has come.
type news struct {
	console string
	lines   *regexp.Regexp
	read    int64
	rest    []byte // a line that has not ended yet
}

// next are those that were written since the last call.
func (n *news) next() []string {
	f, err := os.Open(n.console)
	if err != nil {
		return nil // QEMU makes it
	}
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, n.read, maxNews))
	if err != nil {
		return nil
	}
	n.read += int64(len(data))
	data = append(n.rest, data...)
	end := bytes.LastIndexByte(data, '\n') + 1
	n.rest = bytes.Clone(data[end:])
	if len(n.rest) > maxNews { // that is no line
		n.rest = nil
	}
	var out []string
	for line := range strings.Lines(string(data[:end])) {
		line = strings.TrimSpace(strings.ToValidUTF8(terminalCodes.ReplaceAllString(line, ""), ""))
		if n.lines.MatchString(line) {
			out = append(out, line)
		}
	}
	return out
}
