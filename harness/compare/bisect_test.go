package compare

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
)

func versions(t *testing.T, texts ...string) []kernel.Version {
	t.Helper()
	var out []kernel.Version
	for _, text := range texts {
		v, err := kernel.ParseVersion(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	return out
}

func TestExpand(t *testing.T) {
	known := versions(t, "5.10.262", "6.18.1", "6.12.117", "6.12.9", "6.16.2", "7.3.4")
	for spec, want := range map[string][]string{
		"6.12..7.3":      {"6.12", "6.16", "6.18", "7.3"},
		"v6.11..6.17":    {"v6.11", "6.12", "6.16", "6.17"},
		"6.12..6.12.9":   {"6.12", "6.12.9"},
		"6.12":           {"6.12"},
		"host":           {"host"},
		"./bzImage":      {"./bzImage"},
		"6.12...7.3":     {"6.12...7.3"},
		"6.12..mainline": {"6.12..mainline"},
	} {
		got, err := Expand(spec, known)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q", spec, got, err, want)
		}
	}
	if got, err := Expand("6.1..7.3/arm64", known); err != nil || len(got) < 3 ||
		slices.ContainsFunc(got, func(s string) bool { return !strings.HasSuffix(s, "/arm64") }) {
		t.Errorf("a range of another flavour: %q, %v", got, err)
	}
	if _, err := Expand("7.3..6.12", known); !errors.Is(err, ErrBackwards) {
		t.Errorf("7.3..6.12: %v; want %v", err, ErrBackwards)
	}
}

// TestMiddle: two kernels that differ are narrowed down to neighbours.
func TestMiddle(t *testing.T) {
	m := matrix(t, "memcg-oom-group-takes-all", "5.10", "7.3")
	known := versions(t, "7.3.4", "5.10.262", "5.15.1", "6.1.170", "6.12.117", "7.4")
	tried := map[string]bool{}
	for _, want := range []string{"6.1", "6.12", "5.15", ""} {
		series, scenarios := m.Middle(known, tried)
		if series != want {
			t.Fatalf("after %v: %q; want %q", tried, series, want)
		}
		if want != "" && !slices.Equal(scenarios, []string{"memcg/oom-group-takes-all"}) {
			t.Errorf("%s: scenarios %q", want, scenarios)
		}
		tried[series] = true
	}
	if series, _ := matrix(t, "memcg-oom-group-takes-all", "7.3").Middle(known, nil); series != "" {
		t.Errorf("one kernel: %q; want none", series)
	}
}

func TestColumnNames(t *testing.T) {
	got := ColumnNames([]string{"5.10.0-46-cloud-amd64", "6.12.1", "6.12.117", "custom", ""})
	if want := []string{"5.10", "6.12.1", "6.12.117", "custom", "no kernel"}; !slices.Equal(got, want) {
		t.Errorf("%q; want %q", got, want)
	}
}
