# oomlab: everything that is built, tested and run. `make help` lists it.
#
# On a fresh Debian machine `make test-scenarios` and `make test` install what
# they need (QEMU; Go where there is none) by apt.

GO      ?= go
KERNEL  ?=
TARGET  ?= vm
RUNS    ?= runs
REPORTS ?= artifacts
# as many emulated machines side by side as there are cores
PROCS   ?= $(shell nproc)

BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w"
PAYLOAD := harness/payload/bin

.PHONY: help build payload test test-scenarios test-kernels bench fuzz lint generate check-generate deps tidy clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

deps: ## what the rest needs, installed by apt where it is missing
	@.ci/deps

payload: deps
	@$(BUILD) -o $(PAYLOAD)/oomlab-stressor ./stressor
	@$(BUILD) -o $(PAYLOAD)/oomlab-agent ./cmd/oomlab-agent

build: payload ## bin/oomlab, one file that carries agent, stressor and scenarios
	@$(BUILD) -o bin/oomlab ./cmd/oomlab
	@ls -l bin/oomlab | awk '{printf "bin/oomlab: %.1f MiB\n", $$5 / 1048576}'

test: payload lint ## the tests, without those that boot the whole library
	$(GO) test ./...

test-scenarios: build ## every scenario (KERNEL=6.12 TARGET=vm), summary and JUnit
	@mkdir -p $(REPORTS)
	$(GO) tool ginkgo run --tags e2e --procs $(PROCS) --timeout 40m --silence-skips --no-color \
		--output-dir $(abspath $(REPORTS)) --junit-report scenarios.xml ./harness/e2e -- \
		-oomlab.target=$(TARGET) -oomlab.kernel=$(KERNEL) -oomlab.runs=$(abspath $(RUNS)) \
		-oomlab.table=$(abspath $(REPORTS))/scenarios.txt
