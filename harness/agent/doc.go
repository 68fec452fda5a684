// Package agent carries out a plan on the machine it runs on and reports what
// it sees.
//
// An [Agent] first says what the machine is ([Agent.Hello]) and then carries out
// one plan at a time ([Agent.Do]):
//
//	undo list to disk -> sysctls, swap, cgroups -> observers on, first readings
//	-> begin -> processes, actions -> everything is quiet
//	-> last readings, who is alive -> end -> survivors killed, all put back
//
// Whatever happens in between becomes an event with its source; nothing is
// interpreted here. No wait is a sleep: processes say that they are ready, ends
// are seen through pidfds, and every wait has a deadline.
//
// The package must keep working while the machine has no memory left, so
// files that are read during a run are opened before it.
package agent
