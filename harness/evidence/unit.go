package evidence

// UnitState is what systemd says of a unit.
type UnitState struct {
	Service string `json:"service"` // NAME.service
	// Shows are properties as systemctl show prints them, by name.
	Shows map[string]string `json:"shows"`
	// Noted is how often its journal says that one of the unit's processes was killed by
	// the OOM killer.
	Noted int `json:"noted"`
}

// UnitProperties are the properties that are recorded: of the unit's end, and of its settings.
var UnitProperties = []string{
	"Result", "ExecMainCode", "ExecMainStatus", "ExecMainPID", "MainPID", "ActiveState", "SubState", "NRestarts",
	"OOMPolicy", "OOMScoreAdjust", "Restart", "MemoryMax", "MemoryHigh", "MemorySwapMax", "StartLimitBurst",
	"ControlGroup",
}
