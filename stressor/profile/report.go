package profile

import (
	"strconv"
	"unicode/utf8"
)

// AppendReport appends r as a line of JSON, its line feed included. Fields with
// their zero value are left out. encoding/json would cost the stressor 400 KiB of
// resident file pages.
func AppendReport(dst []byte, r Report) []byte {
	dst = append(dst, '{')
	text := func(key, value string) {
		if value != "" {
			dst = append(appendString(append(appendString(dst, key), ':'), value), ',')
		}
	}
	number := func(key string, n int64) {
		if n != 0 {
			dst = append(strconv.AppendInt(append(appendString(dst, key), ':'), n, 10), ',')
		}
	}
	text("event", r.Event)
	text("name", r.Name)
	number("pid", int64(r.PID))
	number("mono_ns", r.MonoNS)
	number("step", int64(r.Step))
	number("held", r.Held)
	number("resident", r.Resident)
	number("overhead", r.Overhead)
	number("code", int64(r.Code))
	number("signal", int64(r.Signal))
	text("error", r.Error)
	text("errno", r.Errno)
	if n := len(dst) - 1; dst[n] == ',' {
		dst = dst[:n]
	}
	return append(dst, '}', '\n')
}

// appendString appends s as a JSON string. Bytes that are not UTF-8 become
// U+FFFD, as encoding/json has it.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < ' ':
			dst = append(dst, `\u00`...)
			dst = append(dst, "0123456789abcdef"[r>>4], "0123456789abcdef"[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
