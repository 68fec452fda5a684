// Package oomlog reads what the OOM killer wrote into a kernel log, in whatever
// form the log has come down: raw records of /dev/kmsg, dmesg, the journal,
// syslog, a container runtime's log, a serial console, a quoted mail.
//
// A line goes through three stages. scan.go finds the few lines of a log that
// can matter; prefix.go takes off what the transport put before the kernel's
// text; line.go says which of the kernel's lines it is. parser.go then gives it
// to the report that it belongs to.
//
// The package is pure: bytes or a reader in, [Report] out. A number that the
// kernel did not print is a nil pointer, not zero.
package oomlog
