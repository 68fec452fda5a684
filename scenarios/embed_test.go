package scenarios

import (
	"errors"
	"testing"
)

func TestAll(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(Names()) || len(all) < 20 {
		t.Errorf("%d scenarios of %d files", len(all), len(Names()))
	}
}

func TestMatchUnknown(t *testing.T) {
	_, err := Match("memcg/biger-of-two-dies")
	const want = `no such scenario: "memcg/biger-of-two-dies"; did you mean "memcg/bigger-of-two-dies"?`
	if err == nil || err.Error() != want || !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v, want %s", err, want)
	}
}
