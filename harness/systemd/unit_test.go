package systemd

import "testing"

// TestShows: what systemd 257 was measured to say.
func TestShows(t *testing.T) {
	for _, tt := range []struct {
		name            string
		policy, restart string
		end             End
		// Result, ExecMainCode, ExecMainStatus, ActiveState, NRestarts
		want [5]string
	}{
		{"alive", "stop", "", End{Alive: true, Lives: 1},
			[5]string{"success", "0", "0", "active", "0"}},
		{"the main process was killed", "stop", "", End{Signal: 9, Killed: true, Lives: 1},
			[5]string{"oom-kill", "killed", "9", "failed", "0"}},
		{"a child was killed", "stop", "", End{Signal: 15, Killed: true, Lives: 1},
			[5]string{"oom-kill", "killed", "15", "failed", "0"}},
		{"a child was killed, and that is only noted", "continue", "",
			End{Code: 3, Killed: true, Lives: 1},
			[5]string{"exit-code", "exited", "3", "failed", "0"}},
		{"all were killed", "kill", "", End{Signal: 9, Killed: true, Lives: 1},
			[5]string{"oom-kill", "killed", "9", "failed", "0"}},
		{"killed at each start", "stop", "always", End{Signal: 9, Killed: true, Lives: 3},
			[5]string{"oom-kill", "killed", "9", "failed", "3"}},
		{"started again, and alive", "stop", "always", End{Alive: true, Lives: 2},
			[5]string{"success", "0", "0", "active", "1"}},
		{"somebody's SIGKILL", "stop", "", End{Signal: 9, Lives: 1},
			[5]string{"signal", "killed", "9", "failed", "0"}},
		{"killed while it was stopped", "stop", "", End{Signal: 9, Killed: true, Stopped: true, Lives: 1},
			[5]string{"oom-kill", "killed", "9", "failed", "0"}},
		{"stopped, and would not end", "stop", "", End{Signal: 9, Stopped: true, Lives: 1},
			[5]string{"timeout", "killed", "9", "failed", "0"}},
		{"a clean end", "stop", "on-failure", End{Lives: 1},
			[5]string{"success", "exited", "0", "inactive", "0"}},
	} {
		tt.end.OOMPolicy, tt.end.Restart = tt.policy, tt.restart
		got := tt.end.Shows()
		for i, name := range []string{"Result", "ExecMainCode", "ExecMainStatus", "ActiveState", "NRestarts"} {
			if got[name] != tt.want[i] {
				t.Errorf("%s: %s is %s, want %s", tt.name, name, got[name], tt.want[i])
			}
		}
	}
}
