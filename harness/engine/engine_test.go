package engine

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestShows: what podman 5.4 and Docker 26.1 were measured to say.
func TestShows(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  End
		// Status, OOMKilled ("" is not sure), ExitCode, RestartCount
		want [4]string
	}{
		{"alive", End{Engine: Podman, Runtime: Crun, Alive: true, Lives: 1}, [4]string{"running", "false", "0", "0"}},
		{"the first process was killed", End{Engine: Podman, Runtime: Crun, Signal: 9, Killed: true, Lives: 1},
			[4]string{"exited", "true", "137", "0"}},
		{"the same with runc", End{Engine: Podman, Runtime: Runc, Signal: 9, Killed: true, Lives: 1},
			[4]string{"exited", "", "137", "0"}},
		{"the same with docker", End{Engine: Docker, Runtime: Runc, Signal: 9, Killed: true, Lives: 1},
			[4]string{"exited", "true", "137", "0"}},
		{"a child was killed", End{Engine: Docker, Runtime: Runc, Code: 3, Killed: true, Lives: 1},
			[4]string{"exited", "true", "3", "0"}},
		{"killed at each start", End{Engine: Podman, Runtime: Crun, Signal: 9, Killed: true, Lives: 3},
			[4]string{"exited", "true", "137", "2"}},
		{"somebody's SIGKILL", End{Engine: Podman, Runtime: Runc, Signal: 9, Lives: 1},
			[4]string{"exited", "false", "137", "0"}},
	} {
		got := tt.end.Shows()
		for i, name := range []string{Status, OOMKilled, ExitCode, RestartCount} {
			if got[name] != tt.want[i] {
				t.Errorf("%s: %s is %q, want %q", tt.name, name, got[name], tt.want[i])
			}
		}
	}
}

func TestMisreported(t *testing.T) {
	for _, tt := range []struct {
		name string
		says bool
		k    Kills
		want Misreport
	}{
		{"as it was", true, Kills{First: true, Signal: 9}, ""},
		{"nothing happened", false, Kills{Code: 3}, ""},
		{"not noticed", false, Kills{First: true, Signal: 9}, KilledButFalse},
		{"a child, not noticed", false, Kills{Others: true, Code: 1}, KillUnseen},
		{"a child, success", true, Kills{Others: true}, OOMKilledExit0},
		{"a child, a failure", true, Kills{Others: true, Code: 3}, OOMKilledExitOwn},
		{"a child, 143", true, Kills{Others: true, Code: 143}, OOMKilledExit143},
		{"a child, SIGTERM", true, Kills{Others: true, Signal: 15}, OOMKilledExit143},
		{"a child, and SIGKILL from outside", true, Kills{Others: true, Signal: 9}, OOMKilledEarlier},
		{"nobody", true, Kills{Signal: 9}, OOMKilledForNothing},
		{"a child, and it runs on", true, Kills{Others: true, Alive: true}, ""},
	} {
		if got := Misreported(tt.says, tt.k); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestRestarts(t *testing.T) {
	for policy, want := range map[string]int{
		"": 0, "no": 0, "on-failure:1": 1, "on-failure:100": 100,
		"on-failure": -1, "on-failure:0": -1, "on-failure:+2": -1, "on-failure:101": -1, "always": -1,
		"unless-stopped": -1,
	} {
		n, ok := Restarts(policy)
		if ok != (want >= 0) || ok && n != want {
			t.Errorf("%q: %d, %v; want %d", policy, n, ok, want)
		}
	}
	if !StartsAgain("on-failure:2", 137, 2) || StartsAgain("on-failure:2", 137, 3) ||
		StartsAgain("on-failure:2", 0, 1) || StartsAgain("no", 1, 1) {
		t.Error("a container is started again after failures only, and not too often")
	}
}

// recorded are what the engines printed, NAME.inspect.json, without what is not read, and
// NAME.events.json.
var recorded = []struct {
	name, of, id, events string
	shows                map[string]string
}{
	{"podman", "oomcrun", "a6707cf08d97971811d1b794ea49567e60cf35017d4f9ab2e3226b2cf21244a0", "start died",
		map[string]string{Status: "exited", OOMKilled: "true", ExitCode: "137", RestartCount: "0", Pid: "0",
			Memory: "67108864", MemorySwap: "67108864", OomScoreAdj: "0", Restart: "no", Runtime: "crun"}},
	{"docker", "oom", "445c5eb2064ccc431acd8b1a4bdf62ea8e4fe3842242470e1b9f68be5b23f32a", "start oom die",
		map[string]string{Status: "exited", OOMKilled: "true", ExitCode: "137", RestartCount: "0", Pid: "0",
			Memory: "67108864", MemorySwap: "67108864", OomScoreAdj: "0", Restart: "no", Runtime: "runc"}},
}

func TestParse(t *testing.T) {
	for _, tt := range recorded {
		is, err := ParseInspect(read(t, tt.name+".inspect.json"))
		if err != nil || is.ID != tt.id || is.Name != tt.of || !reflect.DeepEqual(is.Shows, tt.shows) {
			t.Errorf("%s: %+v, %v; want %v", tt.name, is, err, tt.shows)
		}
		events, err := ParseEvents(read(t, tt.name+".events.json"))
		if err != nil || Names(events) != tt.events {
			t.Errorf("%s: events %q, %v; want %q", tt.name, Names(events), err, tt.events)
		}
		if last := events[len(events)-1]; !last.Ended() || last.Code == nil || *last.Code != 137 {
			t.Errorf("%s: the last event is %+v", tt.name, last)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                   "inspect: unexpected end of JSON input",
		"[]":                 "inspect: 0 containers, want 1",
		`[{"Id": "a"}]`:      "inspect: it has not all of what is due",
		`[{"Id": 7}]`:        "inspect: json: cannot unmarshal number",
		`[{"Id":"a"},{}]`:    "inspect: 2 containers, want 1",
		`[{"State":"dead"}]`: "inspect: json: cannot unmarshal string",
	} {
		if _, err := ParseInspect([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"{}\nx": `events: "x"`,
		`{"status":"die","Actor":{"Attributes":{"exitCode":"x"}}}`: `exit code "x"`,
	} {
		if _, err := ParseEvents([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func FuzzParse(f *testing.F) {
	for _, r := range recorded {
		f.Add(read(f, r.name+".inspect.json"), read(f, r.name+".events.json"))
	}
	f.Fuzz(func(t *testing.T, inspect, events []byte) {
		if is, err := ParseInspect(inspect); err == nil {
			for _, name := range Properties {
				if _, ok := is.Shows[name]; !ok {
					t.Errorf("%s is missing", name)
				}
			}
		}
		all, err := ParseEvents(events)
		for _, e := range all {
			if err == nil && e.Ended() != (e.Code != nil) {
				t.Errorf("%+v: only an end has an exit code", e)
			}
		}
	})
}
