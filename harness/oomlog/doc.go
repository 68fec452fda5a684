// Package oomlog reads what the OOM killer wrote into a kernel log, in whatever
// form the log has come down: raw records of /dev/kmsg, dmesg, the journal,
// syslog, a container runtime's log, a serial console, a quoted mail.
//
// scan.go searches a log for the words that begin a report and splits lines only
// near them. A line then goes through layers, from the outermost in: unwrap.go joins
// what a terminal or a mail program broke, edge.go finds what was cut, before.go takes a
// host off, block.go marks of a block, encoded.go reads base64, html.go, csv.go, mime.go and quoted.go
// (JSON, lists, strings) decode, journal.go knows the journal's forms, url.go, framed.go
// (messages that no newline ends, netconsole's pieces, CEF) and pstore.go others. prefix.go
// takes off what the transport put before the kernel's text, tail.go what it put
// behind; order.go turns logs around that have the newest line first. line.go says
// which of the kernel's lines it is, and parser.go gives it to the report that it
// belongs to. Package unpack opens what a log is packed in.
//
// The package is pure: bytes or a reader in, [Report] out. A number that the
// kernel did not print is a nil pointer, not zero.
package oomlog
