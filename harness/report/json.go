package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/oomlab/oomlab/harness/verdict"
)

// JSON writes one object a line, one for each run.
func JSON(w io.Writer, all []verdict.Result) error {
	for _, r := range all {
		if err := encode(w, r, ""); err != nil {
			return err
		}
	}
	return nil
}

// Document writes one run as result.json of its run directory has it, byte for
// byte.
func Document(w io.Writer, r verdict.Result) error { return encode(w, r, " ") }

func encode(w io.Writer, r verdict.Result, indent string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("%s: %w", r.Scenario, err)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// ParseJSON reads what [JSON] or [Document] wrote of one run.
func ParseJSON(data []byte) (verdict.Result, error) {
	var r verdict.Result
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("not a result: %w", err)
	}
	return r, nil
}
