package kubelet

// Misreport is a way in which what Kubernetes says of a container is not what
// the kernel did. Some follow from how runtimes see kills and can be predicted;
// docs/kubernetes.md has the public reports behind each.
type Misreport string

// The misreports.
const (
	// A process of the container was OOM-killed and its first process ended by
	// itself: with success, with a failure of its own, or on SIGTERM.
	OOMKilledExit0   Misreport = "oomkilled-but-exit-0"
	OOMKilledExitOwn Misreport = "oomkilled-but-own-exit"
	OOMKilledExit143 Misreport = "oomkilled-but-143"
	// The kill belongs to an earlier moment: OOMKilled, though the container's
	// first process was not killed by the OOM killer but by somebody else.
	OOMKilledEarlier Misreport = "oomkilled-from-earlier-kill"
	// The first process was OOM-killed, and the reason is Error.
	KilledButError Misreport = "oom-kill-but-error"
	// A process was OOM-killed, the container runs on, and nothing says so.
	KillUnseen Misreport = "oom-kill-unseen"
	// The node as a whole ran out of memory, and no SystemOOM event says so.
	NoSystemOOM Misreport = "node-oom-without-event"
	// OOMKilled, and nobody in the container was OOM-killed.
	OOMKilledForNothing Misreport = "oomkilled-without-kill"
)

// Misreports are all of them.
var Misreports = []string{
	string(OOMKilledExit0), string(OOMKilledExitOwn), string(OOMKilledExit143), string(OOMKilledEarlier),
	string(KilledButError), string(KillUnseen), string(NoSystemOOM), string(OOMKilledForNothing),
}
