package scenario

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/allocs"
)

// FuzzParse holds Parse to what it promises whatever a file says: it ends, its
// error is always a *Problems with a place and a word on each, and what it
// accepts is valid by the schema that editors use.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		example, base, everything, pods, "", "\x00", "a: &a [*a]", "a: &a {<<: *a}", "? {a: b}\n: c", "- - - -",
		"---\n---\n", "%YAML 1.2\n---\n",
		strings.Repeat("[", 20_000), strings.Repeat("{a: ", 20_000), strings.Repeat("- ", 20_000), "a: " +
			strings.Repeat("&b ", 100),
		strings.NewReplacer("touch: 64Mi", "touch: 64MB", "killed: [small]", "killed: {small: 1}").Replace(example),
	} {
		f.Add([]byte(seed))
	}
	library, err := filepath.Glob("../../scenarios/*/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range library {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	s := schema(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		var got Scenario
		var err error
		allocs.Within(t, 1000, len(data), func() { got, err = Parse("fuzz.yaml", data) })
		if err != nil {
			var p *Problems
			if !errors.As(err, &p) || len(p.List) == 0 || len(p.List) > maxProblems+1 {
				t.Fatalf("%T is not a list of problems: %v", err, err)
			}
			for _, one := range p.List {
				if one.What == "" || one.File != "fuzz.yaml" {
					t.Fatalf("a problem without a word or a place: %+v", one)
				}
			}
			return
		}
		if err := got.Validate(); err != nil {
			t.Fatalf("what was read is not valid: %v", err)
		}
		if err := s.Validate(instance(t, data)); err != nil {
			t.Fatalf("the schema refuses what Parse accepts: %v", err)
		}
		sameAgain(t, got)
	})
}
