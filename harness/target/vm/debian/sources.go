package debian

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// source is one place that the machine's apt gets packages from: a stanza of a
// deb822 file or a line of a sources.list.
type source struct {
	uris     []string
	suites   []string
	signedBy string // file, fingerprint, or a key in armour over several lines
	trusted  string // "yes" where the administrator switched signatures off
}

// releases are the code names and the standing names of Debian releases; an apt
// source that serves one of them serves Debian.
var releases = regexp.MustCompile(
	`^(stretch|buster|bullseye|bookworm|trixie|forky|duke|sid|oldoldstable|oldstable|stable|testing|unstable)([-/](updates|security|backports|proposed-updates))*$`)

// Mirrors are the machine's apt sources that serve Debian, told apart by what
// they hold.
type Mirrors struct {
	archive  []source // releases and their backports
	security []source // security updates
}

// debianMirrors picks from all sources those that serve Debian releases.
func debianMirrors(all []source) Mirrors {
	var m Mirrors
	for _, s := range all {
		isDebian, isSecurity := false, false
		for _, suite := range s.suites {
			isDebian = isDebian || releases.MatchString(suite)
			isSecurity = isSecurity || securitySuite(suite)
		}
		switch {
		case isDebian && isSecurity:
			m.security = append(m.security, s)
		case isDebian:
			m.archive = append(m.archive, s)
		}
	}
	return m
}

func securitySuite(suite string) bool {
	// bullseye-security since Debian 11, buster/updates before it.
	return strings.HasSuffix(suite, "-security") || strings.HasSuffix(suite, "/updates")
}

// Serve reports whether some source should have suite.
func (m Mirrors) Serve(suite string) bool { return len(m.serving(suite)) > 0 }

// serving are the sources that should have suite.
func (m Mirrors) serving(suite string) []source {
	if securitySuite(suite) {
		return m.security
	}
	return m.archive
}

// Sources writes the sources for suites in apt's deb822 format; suites that no
// source serves are left out.
func (m Mirrors) Sources(suites ...string) string {
	var b strings.Builder
	for _, suite := range suites {
		b.WriteString(deb822(m.serving(suite), suite, Arch))
	}
	return b.String()
}

// deb822 writes the sources for one suite in apt's deb822 format.
func deb822(from []source, suite, arch string) string {
	var b strings.Builder
	var seen []string
	for _, s := range from {
		key := strings.Join(s.uris, " ")
		if slices.Contains(seen, key) {
			continue // one mirror may be listed once for a release and once for its updates
		}
		seen = append(seen, key)
		fmt.Fprintf(&b, "Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nArchitectures: %s\n", key, suite, arch)
		if s.signedBy != "" {
			fmt.Fprintf(&b, "Signed-By: %s\n", s.signedBy)
		}
		if s.trusted != "" {
			fmt.Fprintf(&b, "Trusted: %s\n", s.trusted)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// parseDeb822 reads a file NAME.sources, see sources.list(5), "deb822-style
// format". Stanzas that are disabled or have only source packages are left out.
func parseDeb822(r io.Reader) ([]source, error) {
	var out []source
	fields := map[string]string{}
	last := ""
	flush := func() {
		if len(fields) > 0 && fields["enabled"] != "no" && slices.Contains(strings.Fields(fields["types"]), "deb") {
			out = append(out, source{
				uris:     strings.Fields(fields["uris"]),
				suites:   strings.Fields(fields["suites"]),
				signedBy: strings.TrimSpace(fields["signed-by"]),
				trusted:  strings.TrimSpace(fields["trusted"]),
			})
		}
		fields, last = map[string]string{}, ""
	}
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		line := sc.Text()
		switch {
		case strings.HasPrefix(line, "#"): // a comment does not end a stanza
		case strings.TrimSpace(line) == "":
			flush()
		case line[0] == ' ' || line[0] == '\t':
			if last != "" {
				fields[last] += "\n" + strings.TrimRight(line, " \t") // keys in armour keep their lines
			}
		default:
			name, value, ok := strings.Cut(line, ":")
			if !ok {
				return nil, fmt.Errorf("%q is not a field; apt's own format is \"Name: value\"", line)
			}
			last = strings.ToLower(strings.TrimSpace(name))
			fields[last] = strings.TrimSpace(value)
		}
	}
	flush()
	return out, sc.Err()
}

// parseOneLine reads a sources.list, see sources.list(5), "one-line-style
// format".
func parseOneLine(r io.Reader) ([]source, error) {
	var out []source
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		line, _, _ := strings.Cut(sc.Text(), "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb")
		if !ok || rest == "" || (rest[0] != ' ' && rest[0] != '\t') {
			continue // empty, a comment, or deb-src
		}
		rest = strings.TrimSpace(rest)
		var s source
		if strings.HasPrefix(rest, "[") {
			options, after, ok := strings.Cut(rest[1:], "]")
			if !ok {
				return nil, fmt.Errorf("%q has options without an end; write deb [options] URI suite component",
					sc.Text())
			}
			for _, option := range strings.Fields(options) {
				switch name, value, _ := strings.Cut(option, "="); name {
				case "signed-by":
					s.signedBy = strings.ReplaceAll(value, ",", " ")
				case "trusted":
					s.trusted = value
				}
			}
			rest = after
		}
		fields := strings.Fields(rest)
		if len(fields) < 2 {
			return nil, fmt.Errorf("%q has no suite; write deb URI suite component", sc.Text())
		}
		s.uris, s.suites = fields[:1], fields[1:2]
		out = append(out, s)
	}
	return out, sc.Err()
}
