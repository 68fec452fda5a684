package chaos_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/oomlab/oomlab/harness/chaos"
	"github.com/oomlab/oomlab/harness/scenario"
)

func TestWhatIsGeneratedIsValid(t *testing.T) {
	for _, d := range chaos.Domains {
		for i := range 400 {
			s := chaos.Generate(7, i, d)
			if err := s.Validate(); err != nil {
				t.Fatalf("%s %d: %v", d, i, err)
			}
			text, err := scenario.Format(s)
			if err != nil {
				t.Fatal(err)
			}
			back, err := scenario.Parse(s.Name, text)
			if err != nil {
				t.Fatalf("%s %d: %v\n%s", d, i, err, text)
			}
			if !reflect.DeepEqual(back, s) {
				t.Fatalf("%s %d is read back as another scenario:\n%s\n%+v\n%+v", d, i, text, s, back)
			}
		}
	}
}

func TestOneSeedOneScenario(t *testing.T) {
	for _, d := range chaos.Domains {
		different := 0
		for i := range 50 {
			a, _ := scenario.Format(chaos.Generate(3, i, d))
			b, _ := scenario.Format(chaos.Generate(3, i, d))
			c, _ := scenario.Format(chaos.Generate(4, i, d))
			if !bytes.Equal(a, b) {
				t.Fatalf("%s %d: two scenarios of one seed:\n%s\n%s", d, i, a, b)
			}
			if !bytes.Equal(a, c) {
				different++
			}
		}
		if different < 45 {
			t.Errorf("%s: %d of 50 scenarios differ between seeds", d, different)
		}
	}
}
