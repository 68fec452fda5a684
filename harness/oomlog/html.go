package oomlog

import (
	"bytes"
	"html"
	"slices"
	"strings"
)

// htmlTags are those in which pages and mails show logs. True: it ends a line.
var htmlTags = map[string]bool{
	"br": true, "p": true, "div": true, "pre": true, "li": true, "ul": true, "ol": true, "tr": true, "td": true,
	"th": true, "table": true, "tbody": true, "blockquote": true, "html": true, "body": true, "head": true,
	"title": true, "h1": true, "h2": true, "h3": true, "section": true, "article": true,
	"span": false, "code": false, "font": false, "b": false, "i": false, "em": false, "strong": false, "a": false,
	"tt": false, "samp": false, "mark": false, "u": false, "wbr": false, "small": false,
}

// cutHTML reads the tag at the start of s: one of those above, or of XML, whose
// elements may have any name. What the kernel prints in angle brackets, <TASK>, has no
// lower-case letter.
func cutHTML(s []byte) (ends bool, n int) {
	if mark := []byte("<![CDATA["); bytes.HasPrefix(s, mark) {
		return true, len(mark)
	}
	end := bytes.IndexByte(s[:min(len(s), 2<<10)], '>')
	if end < 0 {
		return false, 0
	}
	name := strings.Trim(string(s[1:end]), "/ ")
	if i := strings.IndexAny(name, " \t/"); i >= 0 {
		name = name[:i]
	}
	ends, known := htmlTags[strings.ToLower(name)]
	if !known && !isElement(s, name) {
		return false, 0
	}
	return ends || !known, end + 1
}

// isElement reports whether s begins or ends an element of XML: with the end of one of
// that name, or with a start whose end follows.
func isElement(s []byte, name string) bool {
	if strings.ToUpper(name) == name || strings.HasPrefix(name, "!") {
		return false
	}
	close := []byte("</" + name + ">")
	return bytes.HasPrefix(s, close) || bytes.Contains(s[:min(len(s), maxLine)], close)
}

// htmlLine takes tags and entities out of a line, which may hold many lines.
func (s *scanner) htmlLine(line []byte) []byte {
	amp := bytes.IndexByte(line, '&')
	line, tags := htmlEnds(line, amp)
	lt := bytes.IndexByte(line, '<')
	if lt < 0 && amp < 0 || isKmsg(string(line[:min(len(line), 256)])) {
		return line
	}
	var out []byte
	for i := lt; i >= 0 && i < len(line); {
		if out == nil {
			out = append(make([]byte, 0, len(line)), line[:i]...)
		}
		if i > 1 && line[i-1] == '>' && line[i-2] == '/' { // an element of XML that is all attributes
			out, tags = append(out, '\n'), true
		}
		if ends, n := cutHTML(line[i:]); n > 0 {
			tags = true
			if ends && len(out) > 0 && out[len(out)-1] != '\n' {
				out = append(out, '\n')
			}
			i += n
		} else {
			out = append(out, line[i])
			i++
		}
		next := bytes.IndexByte(line[i:], '<')
		if next < 0 {
			next = len(line) - i
		}
		out = append(out, line[i:i+next]...)
		i += next
	}
	if s.html = s.html || tags || amp >= 0 && escapedTag(line); !tags || out == nil {
		out = line
	}
	if amp >= 0 && s.html {
		out = []byte(strings.ReplaceAll(html.UnescapeString(string(out)), nbsp, " "))
	}
	if !tags {
		return out
	}
	out = bytes.ReplaceAll(out, []byte("]]>"), []byte{'\n'})
	if first, _, many := bytes.Cut(bytes.TrimLeft(out, "\n"), []byte{'\n'}); many &&
		parseLogLine(string(first)).foreign {
		return line // another program's page
	}
	for {
		first, rest, more := bytes.Cut(out, []byte{'\n'})
		if !more {
			if len(bytes.TrimSpace(first)) == 0 {
				return nil
			}
			return first
		}
		if len(bytes.TrimSpace(first)) > 0 {
			s.text(first, layerHTML+1)
		}
		out = rest
	}
}

// escapedTag reports whether what the kernel prints in angle brackets is escaped.
func escapedTag(line []byte) bool {
	return bytes.Contains(line, []byte("TASK&gt;")) || bytes.HasPrefix(line, []byte("&lt;"))
}

// htmlEnds decodes the ends of lines that an attribute holds, as that of JUnit's message,
// and parts it from what is around it.
func htmlEnds(line []byte, amp int) (out []byte, many bool) {
	if amp < 0 {
		return line, false
	}
	for _, end := range []string{"&#10;", "&#xA;", "&#xa;"} {
		if bytes.Count(line, []byte(end)) < 2 {
			continue
		}
		many = true
		if last := bytes.LastIndex(line, []byte(end)); bytes.IndexByte(line[last:], '"') > 0 {
			i := last + bytes.IndexByte(line[last:], '"')
			line = slices.Concat(line[:i], []byte{'\n'}, line[i:])
		}
		if i := bytes.LastIndex(line[:bytes.Index(line, []byte(end))], []byte(`="`)); i >= 0 {
			line = slices.Concat(line[:i+2], []byte{'\n'}, line[i+2:])
		}
		line = bytes.ReplaceAll(line, []byte(end), []byte{'\n'})
	}
	return line, many
}
