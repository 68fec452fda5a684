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
	// readSize is read at a time, so that it is still in the processor's cache when it
	// is looked at.
	readSize = 128 << 10
	// scanStart is how many lines at the start of a log are all looked at: a
	// log may begin inside a report.
	scanStart = 4096
)

// needles are what a line of a log must hold to begin a report, or to belong
// to one that has had its kill: every line of kindHead, kindTable, kindSummary,
// kindKill, kindChosen, kindSharing, kindExiting, kindGroup, kindReaper,
// kindNoKillable, kindPanic (of the OOM killer's) and kindSuppressed does, and one of
// two that a mail program has made of it. What other lines are full of, such as the
// words "out of memory", is left out where it can be. The last is a message that
// journalctl -o json writes as an array of bytes because it is not UTF-8.
var needles = newFinder(
	[]string{"oom", "Kil", "kil", "OOM", "ari", "dlo", `":[`},
	"oom-killer:", "oom-kill:constraint", "oom_reaper: ", "oom_score_adj", "oom_kill_process: ", "memory.oom.group",
	"panic_on_oom", "Killed process", "memory: Kill", "memory: kill", "Memory: Kill", "g_task): Kill", "sharing same",
	"OOM victim ", "no killable", "em is deadlocked", `"MESSAGE":[`,
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
		s := scanner{r: r, buf: make([]byte, 0, scanBuffer), start: scanStart, header: headerLines}
		s.quoted.give = s.giveEntry
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
			s.end()
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
	// held is a line that a mail's quoted-printable encoding broke; printable: the
	// log has that encoding.
	held      []byte
	printable bool
	// partial is a line that a container runtime cut, tag P, up to its end, tag F.
	partial []byte
	empty   int // reads in a row that gave nothing
	// What is known of the log's form; see the layers.
	screen  screen
	base    int64 // of the log, where buf begins
	studied int64 // up to where the screen's width is known
	stride  int64 // what is known of that holds for
	last    bool  // buf has the end of the log
	html    bool
	csv     *csvForm
	sql     *csvForm // of the rows of SQL that are read
	header  int      // lines in which the names of a table's columns may stand
	quoted  quoted
	depth   int // of entries in entries
	mime    mime
	host    string // of the row that is read
	order   order

	edge   edge
	before before
	block  string // what shuts the block that is open

	url      encodedURL
	pstore   pstore
	fragment fragment
}

// end takes what still waits when the log ends.
func (s *scanner) end() {
	s.endEntry()
	s.endPstore()
	s.endFragment()
	for _, held := range []*[]byte{&s.held, &s.screen.held, &s.partial, &s.quoted.folded} {
		if *held != nil {
			s.text([]byte{}, 0)
		}
	}
	s.quoted.flush()
	s.endOrder()
}

// busy reports whether lines without a keyword matter now.
func (s *scanner) busy() bool {
	return s.entry != nil || s.parser.busy() || s.screen.held != nil || s.quoted.folded != nil ||
		len(s.order.queue) > 0 || s.quoted.pending() || len(s.pstore.parts) > 0 || s.fragment.header != nil ||
		s.csv != nil && s.csv.open >= 0
}

// fill reads what r has for now, and at most until the buffer is full.
func (s *scanner) fill() error {
	n, err := s.r.Read(s.buf[len(s.buf):min(len(s.buf)+readSize, cap(s.buf))])
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
			s.base += int64(len(s.buf))
			s.buf = s.buf[:0]
			return
		}
		s.base += int64(end + 1)
		data, s.long = data[end+1:], false
	}
	end, soft := bytes.LastIndexByte(data, '\n')+1, false
	if full := end == 0 && len(data) == cap(s.buf); last || full {
		end = len(data)
		if full && !last {
			// A document on one line is taken in parts.
			if n := softEnd(data); n > len(data)/2 {
				end, soft = n, true
			} else {
				s.long = true
			}
		}
	}
	s.last = last
	used := s.lines(data[:end], soft || end == len(data) && (last || s.long))
	if used == 0 && len(data) == cap(s.buf) {
		used = len(data) // a binary field that does not fit
	}
	s.base += int64(used)
	s.buf = s.buf[:copy(s.buf, data[used:])]
}

// look makes sure that it is known at what width the lines from pos on are broken.
// It is false if more of the log has to be read for that.
func (s *scanner) look(data []byte, pos int) bool {
	if s.base+int64(pos) < s.studied {
		return true
	}
	if rest := len(data) - pos; rest < studyBytes && !s.last && (pos > 0 || len(s.buf) < cap(s.buf)) {
		return false
	}
	sample := data[pos:min(len(data), pos+studyBytes)]
	s.before.study(sample)
	s.printable = s.printable || isPrintable(sample)
	before := s.screen.width
	if s.screen.study(sample); s.screen.width != before || s.stride == 0 {
		s.stride = studyBytes
	}
	if s.edge.width = 0; s.screen.width == 0 {
		s.edge.study(sample)
	}
	s.studied = s.base + int64(pos) + s.stride
	s.stride = min(2*s.stride, maxStride) // the log goes on as it was
	return true
}

// lines looks at data, whole lines but for a cut last one, and says how much
// of it is done.
func (s *scanner) lines(data []byte, cut bool) int {
	pos, looked := 0, 0
	for pos < len(data) {
		if s.start > 0 || s.busy() {
			if !s.look(data, pos) {
				return pos
			}
			n, ok := s.line(data[pos:], cut)
			if !ok {
				return pos
			}
			pos += n
			looked = pos
			if s.start = max(0, s.start-1); s.quoted.found { // base64 has none of the needles
				s.quoted.found, s.start = false, scanStart
			}
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
		}
		if pos = begin; !s.look(data, pos) {
			return pos
		}
		// At least the line with the hit is looked at, and the one before it, or the
		// export entry.
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
	s.text(line, 0)
	return next, true
}

// The layers in which a log can be wrapped, from the outermost in.
const (
	layerExport    = iota // journalctl -o export
	layerVerbose          // journalctl -o verbose
	layerMIME             // base64 of mails
	layerPrintable        // quoted-printable of mails
	layerURL              // addresses and forms
	layerFramed           // messages that no newline ends
	layerPstore           // parts of a dump, the last first
	layerFragment         // pieces of netconsole's records
	layerCEF              // ArcSight's events
	layerUnwrap           // the edge of a terminal
	layerEdge             // lines that are cut
	layerBefore           // a host or a name before each line, without a time
	layerBlock            // what opens and shuts a block of text
	layerHTML             // pages and mails
	layerPartial          // lines that a container runtime cut
	layerTuple            // rows of SQL, binaries of Erlang
	layerCSV              // exports of log stores
	layerEncoded          // base64
	layerFolded           // strings of YAML over several lines
	layerQuoted           // JSON, lists and strings
	layerEscapes          // line ends that a logger wrote out
)

var layers []func(*scanner, []byte) []byte

// The layers take what they find through the layers in it, so they cannot stand in the
// declaration.
func init() {
	layers = []func(*scanner, []byte) []byte{
		layerExport: (*scanner).exportLine, layerVerbose: (*scanner).verboseLine,
		layerMIME: (*scanner).mimeLine, layerPrintable: (*scanner).unquote, layerURL: (*scanner).urlLine,
		layerFramed: (*scanner).framedLine, layerPstore: (*scanner).pstoreLine,
		layerFragment: (*scanner).fragmentLine, layerCEF: (*scanner).cefLine,
		layerUnwrap: (*scanner).unwrap, layerEdge: (*scanner).edgeLine,
		layerBefore: (*scanner).beforeLine, layerBlock: (*scanner).blockLine,
		layerHTML: (*scanner).htmlLine, layerPartial: (*scanner).uncut,
		layerTuple: (*scanner).tupleLine,
		layerCSV:   (*scanner).csvLine, layerEncoded: (*scanner).encodedLine, layerFolded: (*scanner).foldedLine,
		layerQuoted: (*scanner).quotedLine, layerEscapes: (*scanner).escapedLine,
	}
}

// text takes one line through the layers, beginning with the given one: each gives
// what is inside, or nil if it has taken the line. To read another wrapping of whole
// lines, add a row.
func (s *scanner) text(line []byte, from int) {
	if from == 0 {
		if s.rowLine(line) || s.entryLine(line) {
			return
		}
		s.edge.now = false
	}
	for _, layer := range layers[from:] {
		if line = layer(s, line); line == nil {
			return
		}
	}
	l := s.parser.prefix.read(string(line[:min(len(line), maxLine)]))
	if l.host == "" {
		l.host = s.host
	}
	l.cut = s.edge.now
	if s.order.decided && !s.order.reversed { // as nearly every log: without a list of lines
		s.parser.accept(l)
		return
	}
	s.deliver(l)
}

// calm reports whether no layer waits for anything, and the order of the lines is known.
func (s *scanner) calm() bool {
	return s.order.decided && !s.order.reversed && s.csv == nil && s.entry == nil && !s.export &&
		!s.verbose && !s.mime.open && !s.mime.header && !s.printable && s.held == nil && s.partial == nil &&
		s.screen.width == 0 && s.screen.held == nil && s.before.shape == "" && s.edge.width == 0 && s.block == "" &&
		s.quoted.folded == nil && len(s.quoted.open) == 0 &&
		len(s.pstore.parts) == 0 && s.fragment.header == nil
}

// harmless are bytes that no layer looks for.
var harmless = func() (is [256]bool) {
	for c := range is {
		is[c] = isAlnum(byte(c)) || strings.IndexByte(" .:-/_[]()", byte(c)) >= 0
	}
	return is
}()

// rowLine takes a row of a task table that stands behind the same prefix as the last one, as
// most lines of a report do: what no layer changes need not go through them.
func (s *scanner) rowLine(line []byte) bool {
	rows := &s.parser.prefix.rows
	if rows.before == "" || s.header > 0 || len(line) >= 400 || len(line) < len(rows.before) ||
		string(line[:len(rows.before)]) != rows.before || strings.IndexByte("])", line[len(line)-1]) >= 0 {
		return false
	}
	for _, c := range line {
		if !harmless[c] {
			return false
		}
	}
	text := string(line)
	if !s.calm() || !rows.has(text) {
		return false
	}
	l := rows.read(text)
	if l.host == "" {
		l.host = s.host
	}
	s.parser.accept(l)
	return true
}

// entryLine takes an entry of journalctl -o json, unless a layer might change it.
func (s *scanner) entryLine(line []byte) bool {
	if len(line) == 0 || line[0] != '{' || bytes.Contains(line, []byte("=3D")) {
		return false
	}
	for _, c := range []byte("<&%") {
		if bytes.IndexByte(line, c) >= 0 {
			return false
		}
	}
	return s.calm() && s.objectLine(line)
}

// quotedLine takes lines whose text stands in quotes.
func (s *scanner) quotedLine(line []byte) []byte {
	if s.objectLine(line) {
		return nil
	}
	at, ok := s.quoted.begins(line)
	if !ok {
		if len(s.quoted.open) > 0 && len(bytes.TrimSpace(line)) > 0 {
			s.quoted.flush() // the document ends without its end
		}
		return line
	}
	if at > 0 && parseLogLine(string(line[:at])).foreign {
		return line // what another program says in quotes is its own
	}
	s.quoted.read(string(line[at:]))
	if len(s.quoted.open) == 0 {
		s.quoted.key, s.quoted.has = "", false
	}
	return nil
}

// escapedLine splits a line that holds many: their ends are written out, as rsyslog
// does (#012) and as strings of programs have them (\n), or were lost when the
// text was copied.
func (s *scanner) escapedLine(line []byte) []byte {
	mark := ""
	for _, m := range [...]string{"#012", `\n`, "\r"} {
		if bytes.IndexByte(line, m[0]) >= 0 && bytes.Count(line, []byte(m)) >= 2 {
			mark = m
			break
		}
	}
	if mark == "" && len(line) < 400 {
		return line
	}
	text := string(line)
	if mark == "" {
		joined := splitTimes(text)
		if len(joined) < 4 {
			return line
		}
		mark, text = "\n", strings.Join(joined, "\n")
	}
	first, rest, _ := strings.Cut(text, mark)
	l := parseLogLine(first)
	if isKmsg(text) || l.foreign {
		return line
	}
	lines := []logLine{l}
	for part := range strings.SplitSeq(rest, mark) {
		lines = append(lines, parseLogLine(part[:min(len(part), maxLine)]))
	}
	s.deliver(lines...)
	return nil
}

// splitTimes splits before each time of the kernel's, "[ 1000.000001] ".
func splitTimes(s string) []string {
	var parts []string
	begin := 0
	for i := 1; i < len(s); i++ {
		if s[i] != '[' || s[i-1] != ' ' {
			continue
		}
		if hasKernelTime([]byte(s[i:min(len(s), i+24)])) {
			parts = append(parts, strings.TrimRight(s[begin:i], " ,"))
			begin = i
		}
	}
	return append(parts, s[begin:])
}

// hasKernelTime reports whether a line begins with a time of the kernel's, "[ 1000.000001] ".
func hasKernelTime(line []byte) bool {
	if len(line) == 0 || line[0] != '[' {
		return false
	}
	inside, _, ok := strings.Cut(string(line[1:min(len(line), 24)]), "] ")
	_, fraction, dot := strings.Cut(inside, ".")
	return ok && dot && len(fraction) == 6 && isMonotonic(strings.TrimSpace(inside))
}

// unquote undoes the quoted-printable encoding of mails, which writes = as =3D
// and breaks lines behind a =. It is nil for a line that goes on in the next.
// Only what the kernel prints with a = shows that a log is encoded: the codes
// are found in other logs too, and mean nothing there.
func (s *scanner) unquote(line []byte) []byte {
	if !s.printable {
		if s.printable = isPrintable(line); !s.printable {
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

func isPrintable(text []byte) bool {
	if !bytes.Contains(text, []byte("=3D")) {
		return false
	}
	for _, mark := range []string{"gfp_mask=3D", "constraint=3D", "oom_score_adj=3D", "mems_allowed=3D"} {
		if bytes.Contains(text, []byte(mark)) {
			return true
		}
	}
	return false
}

var quotedPrintable = strings.NewReplacer("=3D", "=", "=20", " ", "=09", "\t", "=C2=A0", nbsp)

// uncut joins the parts of a line in a container's log. It is nil for a part
// that goes on in the next line.
func (s *scanner) uncut(line []byte) []byte {
	at, more := -1, false
	head := line[:min(len(line), 64)]
	if !bytes.Contains(head, []byte(" std")) && s.partial == nil {
		return line
	}
	for _, tag := range []string{" stdout P ", " stderr P ", " stdout F ", " stderr F "} {
		if at = bytes.Index(head, []byte(tag)); at > 0 {
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
	s.text(whole, layerPartial+1) // its end is lost
	return line
}

var softEnds = append([]string{"},", "\",", "',", "<br", `\n`, "%0A", "%0a"}, lineEnds...)

// softEnd finds where a document on one long line can be cut: between the values
// of JSON, behind the lines of HTML.
func softEnd(data []byte) int {
	end := 0
	for _, mark := range softEnds {
		if i := bytes.LastIndex(data, []byte(mark)); i >= 0 {
			if mark != "<br" {
				i += len(mark)
			}
			end = max(end, i)
		}
	}
	return max(end, lastFrame(data))
}
