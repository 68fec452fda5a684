// Package bpf holds the eBPF programs that watch the OOM killer, and loads
// them. It is the only package that knows cilium/ebpf.
//
// oom.bpf.c says what each program sees. Which of them can be attached is
// found out on the running kernel, from its BTF and its symbols, never from its
// version: distributions backport. A hook that cannot be had is named together
// with the reason, and the others work without it.
//
// The compiled programs are committed. They are made with clang 14 and
// libbpf's headers (Debian: clang-14, llvm-14, libbpf-dev), and making them
// again gives the same bytes.
package bpf

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -type event -type kind -type has -type task_info -type status -type person -type span oom oom.bpf.c -- -O2 -g -Wall -Werror
