package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/payload"
	"github.com/oomlab/oomlab/scenarios"
)

// version is what oomlab was made of.
type version struct {
	Version   string `json:"version"`
	Go        string `json:"go"`
	Platform  string `json:"platform"`
	Agent     string `json:"agent_sha256"` // empty: built without
	Stressor  string `json:"stressor_sha256"`
	Scenarios int    `json:"scenarios"`
}

func versionHere() version {
	v := version{
		Version: wire.Build(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Scenarios: len(scenarios.Names()),
	}
	if agent, stressor, err := payload.Load(); err == nil {
		v.Agent, v.Stressor = hash(agent), hash(stressor)
	}
	return v
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "print the version of oomlab and of what it embeds",
		Args: wants(0, 0, "")}
	format := output(cmd, "text", "json")
	cmd.RunE = func(*cobra.Command, []string) error {
		v := versionHere()
		if format.value == "json" {
			return json.NewEncoder(a.out).Encode(v)
		}
		fmt.Fprintf(a.out, "oomlab %s (%s, %s)\n", v.Version, v.Go, v.Platform)
		for _, p := range []struct{ name, sum string }{{"agent", v.Agent}, {"stressor", v.Stressor}} {
			if p.sum == "" {
				p.sum = "missing"
			}
			fmt.Fprintf(a.out, "  %-10s %s\n", p.name, p.sum)
		}
		_, err := fmt.Fprintf(a.out, "  %-10s %d\n", "scenarios", v.Scenarios)
		if v.Agent == "" {
			complain(a.err, payload.ErrMissing)
		}
		return err
	}
	return cmd
}
