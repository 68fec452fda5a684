package oomlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
)

const (
	scanBuffer = 256 << 10
	// scanStart is how many lines at the start of a log are all looked at: a
	// log may begin inside a report.
	scanStart = 4096
)

// needles are what a line of a log must hold to begin a report, or to belong
// to one that has had its kill: every line of kindHead, kindTable, kindSummary,
// kindKill, kindChosen, kindSharing, kindExiting, kindGroup, kindReaper,
// kindNoKillable, kindPanic (of the OOM killer's) and kindSuppressed does. The
// last is a message that journalctl -o json writes as an array of bytes because
// it is not UTF-8.
var needles = newFinder(
	"oom-kill", "oom_reaper: ", "oom_score_adj", "oom_kill_process: ", "oom.group", "oom_adj", "ic_on_oom",
	"Killed process", "Kill process", "Killed\n", "Killed \n", "Out of memory", "OOM victim ", "System is deadlocked",
	`SAGE":[`,
)

// Reports reads a kernel log in any form and gives the OOM reports in it, in
// the order of their heads. It understands raw /dev/kmsg records, dmesg,
// journalctl in its short, export and JSON forms, syslog, container logs,
// serial consoles and quoted mails; forms may be mixed.
//
// It holds 256 KiB of the log, what [Parser] holds, and nothing else. A line
// longer than that is cut. The only errors are those of r; the reports found
// before are given first.
func Reports(r io.Reader) iter.Seq2[Report, error] {
	return func(yield func(Report, error) bool) {
		s := scanner{r: r, buf: make([]byte, 0, scanBuffer), start: scanStart}
		for {
			err := s.fill()
			s.scan(err != nil)
			for _, report := range s.parser.take() {
				if !yield(report, nil) {
					return
				}
			}
			if err == nil {
				continue
			}
			s.endEntry()
			if s.held != nil || s.partial != nil {
				s.text([]byte{})
			}
			for _, report := range s.parser.Close() {
				if !yield(report, nil) {
					return
				}
			}
			if !errors.Is(err, io.EOF) {
				yield(Report{}, fmt.Errorf("kernel log: after %d bytes: %w", s.read, err))
			}
			return
		}
	}
}

// scanner splits a log into lines and drops those that cannot matter before
// anything is done with them.
type scanner struct {
	r      io.Reader
	buf    []byte // not yet scanned
	read   int64
	parser Parser
	start  int  // lines still to be looked at one by one
	long   bool // the rest of the line at the start of buf is dropped
	// entry is what is known of the entry of journalctl -o export that the
	// lines are in.
	entry   *journalEntry
	export  bool
	verbose bool // the entry is of journalctl -o verbose
	// held is a line that a mail's quoted-printable encoding broke; quoted: the
	// log has that encoding.
	held   []byte
	quoted bool
	// partial is a line that a container runtime cut, tag P, up to its end, tag F.
	partial []byte
	empty   int // reads in a row that gave nothing
}

// fill reads until the buffer is full or r has no more for now.
func (s *scanner) fill() error {
	n, err := s.r.Read(s.buf[len(s.buf):cap(s.buf)])
	s.buf = s.buf[:len(s.buf)+n]
	s.read += int64(n)
	if n > 0 {
		s.empty = 0
		return err
	}
	if s.empty++; err == nil && s.empty > 100 {
		return io.ErrNoProgress
	}
	return err
}

// scan looks at every whole line of the buffer and keeps the rest. At the end
// of the log the rest is a line too, and so is the part of a line that fills
// the buffer.
func (s *scanner) scan(last bool) {
	data := s.buf
	if s.long {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			s.buf = s.buf[:0]
			return
		}
		data, s.long = data[end+1:], false
	}
	end := bytes.LastIndexByte(data, '\n') + 1
	if full := end == 0 && len(data) == cap(s.buf); last || full {
		end = len(data)
		s.long = full && !last
	}
	used := s.lines(data[:end], end == len(data) && (last || s.long))
	if used == 0 && len(data) == cap(s.buf) {
		used = len(data) // a binary field that does not fit
	}
	s.buf = s.buf[:copy(s.buf, data[used:])]
}

// lines looks at data, whole lines but for a cut last one, and says how much
// of it is done.
func (s *scanner) lines(data []byte, cut bool) int {
	pos, looked := 0, 0
	for pos < len(data) {
		if s.start > 0 || s.entry != nil || s.parser.busy() {
			n, ok := s.line(data[pos:], cut)
			if !ok {
				return pos
			}
			pos += n
			looked = pos
			s.start = max(0, s.start-1)
			continue
		}
		hit := needles.next(data, pos)
		if hit == len(data) {
			return s.passed(data, looked, cut)
		}
		begin := bytes.LastIndexByte(data[pos:hit], '\n') + 1 + pos
		switch {
		case s.export:
			// The whole entry says who wrote the message.
			begin = max(bytes.LastIndex(data[pos:begin], []byte("\n\n"))+pos+1, looked)
		case begin > looked:
			// A wrapped line may have begun one line earlier.
			begin = max(bytes.LastIndexByte(data[looked:begin-1], '\n')+1+looked, looked)
			if n, ok := s.line(data[begin:], cut); ok {
				begin += n
			}
		}
		pos = begin
		// At least the line with the hit is looked at, or the export entry.
		for pos <= hit && pos < len(data) {
			n, ok := s.line(data[pos:], cut)
			if !ok {
				return pos
			}
			pos += n
		}
		looked = pos
	}
	return pos
}

// passed says how much of data is done when no needle is left in it: all but
// the last line, which may be the beginning of a wrapped one, or but the last
// entry of an export, whose end may hold a needle.
func (s *scanner) passed(data []byte, looked int, cut bool) int {
	if cut || len(data) == 0 {
		return len(data)
	}
	keep := bytes.LastIndexByte(data[:len(data)-1], '\n') + 1
	if s.export {
		keep = bytes.LastIndex(data, []byte("\n\n")) + 2
	}
	if keep < looked || len(data)-keep > maxLine {
		return len(data)
	}
	return keep
}

// line takes the line, or the binary field of a journal export, at the start
// of data. It gives its length, and false if the end is not there yet.
func (s *scanner) line(data []byte, cut bool) (int, bool) {
	n := bytes.IndexByte(data, '\n')
	next := n + 1
	if n < 0 {
		if !cut {
			return 0, false
		}
		n, next = len(data), len(data)
	}
	line := data[:n]
	if s.export && isFieldName(line) && next > n {
		return s.binaryField(data, n, cut)
	}
	s.text(line)
	return next, true
}

// text takes one line through the layers in which a log can be wrapped, from
// the outermost in: each gives what is inside, or nil if it has taken the line.
// To read another wrapping of whole lines, add a row.
func (s *scanner) text(line []byte) {
	for _, layer := range [...]func(*scanner, []byte) []byte{
		(*scanner).exportLine,  // journalctl -o export
		(*scanner).verboseLine, // journalctl -o verbose
		(*scanner).unquote,     // a mail's quoted-printable
		(*scanner).uncut,       // lines that a container runtime cut
		(*scanner).jsonLine,    // JSON of journals, runtimes and log shippers
	} {
		if line = layer(s, line); line == nil {
			return
		}
	}
	s.parser.accept(s.parser.prefix.read(string(line[:min(len(line), maxLine)])))
}

// unquote undoes the quoted-printable encoding of mails, which writes = as =3D
// and breaks lines behind a =. It is nil for a line that goes on in the next.
// Only what the kernel prints with a = shows that a log is encoded: the codes
// are found in other logs too, and mean nothing there.
func (s *scanner) unquote(line []byte) []byte {
	if !s.quoted {
		for _, mark := range []string{"gfp_mask=3D", "constraint=3D", "oom_score_adj=3D", "mems_allowed=3D"} {
			s.quoted = s.quoted || bytes.Contains(line, []byte(mark))
		}
		if !s.quoted {
			return line
		}
	}
	trimmed := bytes.TrimRight(line, "\r")
	// lines are broken near their 76th column
	if part, ok := bytes.CutSuffix(trimmed, []byte("=")); ok && len(part) > 60 && len(s.held)+len(part) < maxLine {
		s.held = append(s.held, part...)
		return nil
	}
	line, s.held = append(s.held, trimmed...), nil
	if bytes.Contains(line, []byte("=3D")) || !bytes.Contains(line, []byte("_adj=")) {
		return []byte(quotedPrintable.Replace(string(line)))
	}
	return line
}

var quotedPrintable = strings.NewReplacer("=3D", "=", "=20", " ", "=09", "\t", "=C2=A0", nbsp)

// uncut joins the parts of a line in a container's log. It is nil for a part
// that goes on in the next line.
func (s *scanner) uncut(line []byte) []byte {
	at, more := -1, false
	for _, tag := range []string{" stdout P ", " stderr P ", " stdout F ", " stderr F "} {
		if at = bytes.Index(line[:min(len(line), 64)], []byte(tag)); at > 0 {
			more, at = tag[8] == 'P', at+len(tag)
			break
		}
	}
	switch {
	case more && s.partial == nil:
		s.partial = bytes.Clone(line)
		s.partial[at-2] = 'F'
		return nil
	case more && len(s.partial) < maxLine:
		s.partial = append(s.partial, line[at:]...)
		return nil
	case s.partial == nil:
		return line
	}
	whole := s.partial
	s.partial = nil
	if at > 0 {
		return append(whole, line[at:]...)
	}
	s.text(whole) // its end is lost
	return line
}
