package evidence

import "github.com/oomlab/oomlab/harness/engine"

// ContainerState is what an engine says of a container.
type ContainerState struct {
	Engine string `json:"engine"`
	ID     string `json:"id"`
	// Shows are properties as inspect prints them, by the last part of their name.
	Shows map[string]string `json:"shows"`
	// Events are those of the engine's own, in the order in which it tells of them.
	Events []engine.Event `json:"events"`
}
