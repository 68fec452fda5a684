package debian

import (
	"io"
	"reflect"
	"strings"
	"testing"
)

func TestParseSources(t *testing.T) {
	key := "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n -----END PGP PUBLIC KEY BLOCK-----"
	for _, test := range []struct {
		name  string
		parse func(io.Reader) ([]source, error)
		in    string
		want  []source
		err   string
	}{
		{
			name: "deb822", parse: parseDeb822,
			in: "# the archive\nTypes: deb deb-src\nURIs: http://mirror.test/debian\nSuites: bookworm " +
				"bookworm-updates\n" +
				"Components: main\nSigned-By: /usr/share/keyrings/debian.gpg\n\n" +
				"Types: deb\nURIs: http://mirror.test/security http://second.test/security\nsuites: " +
				"bookworm-security\nComponents: main\n\n" +
				"Enabled: no\nTypes: deb\nURIs: http://off.test\nSuites: sid\n\n" +
				"Types: deb-src\nURIs: http://src.test\nSuites: sid\n",
			want: []source{
				{uris: []string{"http://mirror.test/debian"}, suites: []string{"bookworm", "bookworm-updates"},
					signedBy: "/usr/share/keyrings/debian.gpg"},
				{uris: []string{"http://mirror.test/security", "http://second.test/security"},
					suites: []string{"bookworm-security"}},
			},
		},
		{
			name: "a key in the file", parse: parseDeb822,
			in: "Types: deb\nURIs: http://mirror.test\nSuites: sid\nSigned-By:" + key + "\nTrusted: yes\n",
			want: []source{{uris: []string{"http://mirror.test"}, suites: []string{"sid"},
				signedBy: strings.TrimSpace(key), trusted: "yes"}},
		},
		{name: "no field", parse: parseDeb822, in: "deb http://mirror.test sid main\nnonsense\n",
			err: `"nonsense" is not a field`},
		{
			name: "one line", parse: parseOneLine,
			in: "deb http://mirror.test/debian bookworm main contrib # comment\n# deb http://off.test sid main\n" +
				"deb-src http://mirror.test/debian bookworm main\ndeb [ arch=amd64 signed-by=/k.gpg,/l.gpg " +
				"trusted=yes ] http://mirror.test/debian sid main\ndebug\n",
			want: []source{
				{uris: []string{"http://mirror.test/debian"}, suites: []string{"bookworm"}},
				{uris: []string{"http://mirror.test/debian"}, suites: []string{"sid"}, signedBy: "/k.gpg /l.gpg",
					trusted: "yes"},
			},
		},
		{name: "no end", parse: parseOneLine, in: "deb [ arch=amd64 http://mirror.test sid main",
			err: "has options without an end"},
		{name: "no suite", parse: parseOneLine, in: "deb http://mirror.test", err: "has no suite"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.parse(strings.NewReader(test.in))
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("%v\n got %+v\nwant %+v", err, got, test.want)
			}
		})
	}
}

func TestDebianMirrors(t *testing.T) {
	archive := source{uris: []string{"http://mirror.test/debian"}, suites: []string{"bookworm", "bookworm-updates"},
		signedBy: "/k.gpg"}
	security := source{uris: []string{"http://mirror.test/security"}, suites: []string{"bookworm-security"}}
	old := source{uris: []string{"http://mirror.test/old"}, suites: []string{"buster/updates"}}
	m := debianMirrors([]source{
		archive, security, old,
		{uris: []string{"http://other.test"}, suites: []string{"nodistro"}},
		{uris: []string{"http://other.test"}, suites: []string{"bookworm-pgdg"}},
		{uris: []string{"http://other.test"}, suites: []string{"noble-security"}},
	})
	if got := m.serving("trixie-backports"); !reflect.DeepEqual(got, []source{archive}) {
		t.Errorf("trixie-backports is served by %+v", got)
	}
	if got := m.serving("trixie-security"); !reflect.DeepEqual(got, []source{security, old}) {
		t.Errorf("trixie-security is served by %+v", got)
	}
	// The same mirror twice is asked once.
	got := deb822([]source{archive, archive}, "sid", "amd64")
	want := "Types: deb\nURIs: http://mirror.test/debian\nSuites: sid\nComponents: main\nArchitectures: " +
		"amd64\nSigned-By: /k.gpg\n\n"
	if got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
}
