// Package predict works out, on paper, what the kernel will do.
//
// Given a [plan.Plan] and a [kernel.Machine] it answers: which limit is hit
// first, which process trips it, which task oom_badness() ranks highest at that
// moment, and so on until nothing allocates any more. It reads no files and
// starts nothing, so a prediction can be made on any machine for any other.
//
// The arithmetic follows mm/oom_kill.c, integer division included: a limit
// below 1000 pages makes oom_score_adj vanish, and so it does here. Where the
// kernel's answer depends on timing (two processes that grow at once, counters
// that lag behind), amounts are intervals; an outcome that the intervals do not
// decide is followed both ways, [Prediction.Unsure] says why, and
// [Prediction.Orders] holds what is possible. predict never guesses.
//
// The same arithmetic replays a kill from the kernel's own task table: see
// [Points] and [Choose].
package predict
