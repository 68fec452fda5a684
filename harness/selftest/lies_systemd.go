package selftest

import (
	"github.com/oomlab/oomlab/harness/evidence"
)

func init() { lies[evidence.Systemd] = (*liar).systemd }

func (l *liar) systemd() {
	shown := func(e evidence.Event) bool { return e.Kind == evidence.UnitShown && e.Unit != nil }
	l.tell("a unit was not told of", without(shown))
	l.tell("a unit was told of twice", twice(shown))
	l.tell("another unit", first(shown, func(e *evidence.Event) { e.Process += "x" }))
	l.tell("a kill more in the journal", first(shown, func(e *evidence.Event) { e.Unit.Noted += 100 }))
	l.tell("no kill in the journal", first(func(e evidence.Event) bool { return shown(e) && e.Unit.Noted > 0 },
		func(e *evidence.Event) { e.Unit.Noted = 0 }))
	for name, to := range map[string]string{
		"Result": "watchdog", "ExecMainCode": "3", "ExecMainStatus": "7", "ActiveState": "deactivating",
		"SubState": "stop-sigterm", "NRestarts": "77", "OOMPolicy": "none", "MemoryMax": "1", "MainPID": "1",
		"ControlGroup": "/system.slice/x.service",
	} {
		l.tell("another "+name, first(shown, func(e *evidence.Event) { e.Unit.Shows[name] = to }))
	}
}
