package main

import (
	"github.com/spf13/pflag"

	"github.com/oomlab/oomlab/harness/report"
)

// kcidbFlags say whose report -o kcidb is.
type kcidbFlags struct {
	o report.KCIDBOptions
}

func (k *kcidbFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&k.o.Origin, "kcidb-origin", report.KCIDBOrigin,
		"`NAME` of the CI system, as KCIDB knows it, with -o kcidb")
	flags.StringVar(&k.o.Build, "kcidb-build", "",
		"the `ID` of the build in KCIDB that the tests are of, with -o kcidb\n(default one that is reported with them)")
}

func (k *kcidbFlags) check(format string) error {
	if format != "kcidb" && (k.o.Origin != report.KCIDBOrigin || k.o.Build != "") {
		return &mistake{"--kcidb-origin and --kcidb-build are for -o kcidb", ""}
	}
	if err := k.o.Check(); err != nil {
		return &mistake{"-o kcidb: " + err.Error(), "such as --kcidb-origin my_ci --kcidb-build my_ci:4711"}
	}
	return nil
}
