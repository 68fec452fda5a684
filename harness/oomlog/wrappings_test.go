package oomlog

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"mime/quotedprintable"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/oomlog/unpack"
)

// dmesgLine and syslogLine are lines of logs that documents hold.
func dmesgLine(n int, s string) string {
	return fmt.Sprintf("[%5d.%06d] %s", 6000+n/7, n*137%1000000, s)
}
func syslogLine(_ int, s string) string { return "Dec  4 15:24:33 node-1 kernel: " + s }
func bothLine(n int, s string) string   { return syslogLine(n, dmesgLine(n, s)) }

// dress puts each record through a form.
func dress(form func(int, string) string, records []string) []string {
	lines := make([]string, len(records))
	for i, s := range records {
		lines[i] = form(i, s)
	}
	return lines
}

// each makes a document of one line for each record.
func each(form func(int, string) string, format func(n int, line string) string) func([]string) string {
	return func(records []string) string {
		var b strings.Builder
		for n, line := range dress(form, records) {
			b.WriteString(format(n, line) + "\n")
		}
		return b.String()
	}
}

// folded breaks a string of YAML between two words where a line gets longer than 80
// columns.
func folded(s, end string) string {
	var b strings.Builder
	column := 0
	for i := range len(s) {
		if s[i] == ' ' && column > 60 && i > 0 && i+1 < len(s) && s[i-1] != ' ' && s[i+1] != ' ' {
			b.WriteString(end)
			column = 0
			continue
		}
		b.WriteByte(s[i])
		column++
	}
	return b.String()
}

// newestFirst turns a document of lines around.
func newestFirst(of func([]string) string) func([]string) string {
	return func(records []string) string {
		lines := strings.Split(strings.TrimSuffix(of(records), "\n"), "\n")
		slices.Reverse(lines)
		return strings.Join(lines, "\n") + "\n"
	}
}

func format(f string) func(int, string) string {
	return func(_ int, s string) string { return fmt.Sprintf(f, s) }
}

func quotedBy(quote func(string) string, f string) func(int, string) string {
	return func(_ int, s string) string { return fmt.Sprintf(f, quote(s)) }
}

func jsonString(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func csvField(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// csvMinimal quotes only where it must.
func csvMinimal(s string) string {
	if strings.ContainsAny(s, ",\"\n") {
		return csvField(s)
	}
	return s
}

func pythonString(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`).Replace(s) + "'"
}

// columns breaks lines as a terminal of a width does.
func columns(form func(int, string) string, width int, pad bool, quote string) func([]string) string {
	return func(records []string) string {
		var b strings.Builder
		for _, line := range dress(form, records) {
			for {
				piece := line[:min(len(line), width)]
				line = line[len(piece):]
				if pad {
					piece += strings.Repeat(" ", width-len(piece))
				}
				b.WriteString(quote + piece + "\n")
				if line == "" {
					break
				}
			}
		}
		return b.String()
	}
}

// words breaks lines as mail programs do.
func words(form func(int, string) string, width int, quote string) func([]string) string {
	return each(form, func(_ int, line string) string {
		return quote + strings.ReplaceAll(wrapAt(line, width), "\n", "\n"+quote)
	})
}

// hanging breaks lines at a width, or before it at a blank, and indents all pieces but
// the first.
func hanging(form func(int, string) string, width int, hang string, words bool) func([]string) string {
	return each(form, func(_ int, line string) string {
		if words {
			first, rest, broken := strings.Cut(wrapAt(line, width), "\n")
			if !broken {
				return first
			}
			rest = wrapAt(strings.ReplaceAll(rest, "\n", " "), width-len(hang))
			return first + "\n" + hang + strings.ReplaceAll(rest, "\n", "\n"+hang)
		}
		var b strings.Builder
		for n := width; ; n = width - len(hang) {
			b.WriteString(line[:min(len(line), n)])
			if len(line) <= n {
				return b.String()
			}
			line = line[n:]
			b.WriteString("\n" + hang)
		}
	})
}

// printable is a mail in quoted-printable, which writes = as =3D and breaks lines
// behind a =.
func printable(records []string) string {
	var b strings.Builder
	b.WriteString("From: a@example.org\nContent-Transfer-Encoding: quoted-printable\n\n")
	w := quotedprintable.NewWriter(&b)
	w.Write([]byte(strings.Join(dress(bothLine, records), "\n") + "\n"))
	w.Close()
	return b.String()
}

// object is an indented JSON document with an entry for each line.
func object(form func(int, string) string, before, entry, after string) func([]string) string {
	return func(records []string) string {
		var entries []string
		for n, line := range dress(form, records) {
			entries = append(entries, strings.NewReplacer("LINE", jsonString(line), "N",
				strconv.Itoa(n)).Replace(entry))
		}
		return before + strings.Join(entries, ",\n") + after
	}
}

// tabbed has tabs for blanks, as unexpand(1) makes them.
func tabbed(_ int, s string) string {
	for _, run := range []string{"        ", "       ", "     "} {
		s = strings.ReplaceAll(s, run, "\t")
	}
	return s
}

// documents are the ways in which a whole log arrives. To support another one, add
// a row.
var documents = map[string]func(records []string) string{
	"terminal of 80":          columns(dmesgLine, 80, false, ""),
	"terminal of 72":          columns(dmesgLine, 72, false, ""),
	"terminal of 100":         columns(bothLine, 100, false, ""),
	"terminal of 132":         columns(bothLine, 132, false, ""),
	"terminal of 80, padded":  columns(dmesgLine, 80, true, ""),
	"terminal of 100, padded": columns(bothLine, 100, true, ""),
	"editor of 80, indented":  hanging(dmesgLine, 80, "    ", false),
	"editor of 100, indented": hanging(bothLine, 100, "    ", false),
	"editor of 120, indented": hanging(bothLine, 120, "        ", false),
	"pager of 72, indented":   hanging(bothLine, 72, "  ", true),
	"terminal, quoted":        columns(dmesgLine, 78, false, "> "),
	"mail at 72":              words(bothLine, 72, ""),
	"mail at 72, trimmed": func(r []string) string {
		return strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(words(bothLine, 72, "")(r),
			" \n", "\n"), " \n", "\n"), " \n", "\n"), " \n", "\n")
	},
	"mail at 76, quoted":            words(dmesgLine, 74, "> "),
	"mail at 98":                    words(syslogLine, 98, ""),
	"mail at 72, long words broken": func(r []string) string { return brokenWords(dress(bothLine, r), 72) },
	"mail, base64":                  mailOf,
	"mail, quoted-printable":        printable,
	"padded":                        each(dmesgLine, format("%-240s")),
	"a frame around it": each(dmesgLine,
		func(_ int, s string) string { return fmt.Sprintf("│%-300s│", s) }),
	"padded by three": each(dmesgLine, format("%s   ")),
	"tabs":            each(dmesgLine, tabbed),
	"no-break spaces": each(dmesgLine, func(_ int, s string) string { return strings.ReplaceAll(s, " ", nbsp) }),
	"dmesg -r":        each(dmesgLine, func(n int, s string) string { return fmt.Sprintf("<%d>%s", 4+n%3, s) }),
	"dmesg -x": each(dmesgLine, func(n int, s string) string {
		return []string{"kern  :warn  : ", "kern  :info  : "}[n%2] + s
	}),
	"dmesg --json": object(func(_ int, s string) string {
		return s
	}, "{\n   \"dmesg\": [\n", "      {\n         \"pri\": 4,\n         \"time\": 100.N,\n         \"msg\": LINE\n "+
		"     }", "\n   ]\n}\n"),
	"dmesg, newest first":  newestFirst(each(dmesgLine, format("%s"))),
	"syslog, newest first": newestFirst(each(syslogLine, format("%s"))),
	"logread": each(dmesgLine, func(n int, s string) string {
		return "Fri Dec  4 15:24:33 2020 kern." + levels[3+n%5] + " kernel: " + s
	}),
	"logread, no kernel's time": each(syslogLine, func(n int, s string) string {
		return "Fri Dec  4 15:24:33 2020 kern." + levels[3+n%5] + " " + s[len("Dec  4 15:24:33 node-1 "):]
	}),
	"rsyslog, priority": each(dmesgLine, func(n int, s string) string {
		return "2020-12-04T15:24:33+00:00 node-1 kern." + levels[3+n%5] + " kernel: " + s
	}),
	"journal with unit": each(syslogLine, func(_ int, s string) string {
		return "Fri 2020-12-04 15:24:33 UTC n1 unknown[0]: " + s[len("Dec  4 15:24:33 node-1 kernel: "):]
	}),
	"vmware.log": each(dmesgLine, func(n int, s string) string {
		return fmt.Sprintf("2023-12-04T10:49:30.122Z In(05) vcpu-%d - Guest: <%d>%s", n%2, 4+n%3, s)
	}),
	"vmware.log, old": each(dmesgLine, func(n int, s string) string {
		return fmt.Sprintf("2019-12-04T10:49:30.122Z| vcpu-%d| I125: Guest: <%d>%s", n%2, 4+n%3, s)
	}),
	"netconsole, extended": each(dmesgLine, func(n int, s string) string {
		return fmt.Sprintf("6.1.0-20-amd64,4,%d,%d,-;%s", n+1, n+1, s[15:])
	}),
	"serial, screen's log": each(dmesgLine, func(_ int, s string) string {
		return "\x1b[K\x1b[32m" + s[:14] + "\x1b[0m " + s[15:] + "\r"
	}),
	"cri": each(dmesgLine, func(n int, s string) string {
		return fmt.Sprintf("2020-12-04T15:24:33.%09dZ stdout F %s", n, s)
	}),
	"docker compose":  each(dmesgLine, format("node-1  | %s")),
	"kubectl, prefix": each(syslogLine, format("[pod/logs-x2x4z/tail] %s")),
	"logcli":          each(bothLine, format(`2020-12-04T15:24:33Z {job="kern", host="node-1"} %s`)),
	"aws logs tail":   each(bothLine, format("2020-12-04T15:24:33.123000+00:00 i-0123456789abcdef0 %s")),
	"logfmt": each(dmesgLine, func(_ int, s string) string {
		return "time=2020-12-04T15:24:33Z level=warn msg=" + jsonString(s) + " host=node-1"
	}),
	"fluentd, stdout": each(dmesgLine, func(n int, s string) string {
		return fmt.Sprintf(`2020-12-04 15:24:33 +0000 kern.kmsg: {"priority": 6, "sequence": %d, "msg": %s}`, n,
			jsonString(s[15:]))
	}),
	"fluent-bit, stdout": each(dmesgLine, func(n int, s string) string {
		return fmt.Sprintf(`[%d] kmsg.0: [[1607095473.123, {}], {"priority"=>6, "sequence"=>%d, "sec"=>0, "msg"=>%s}]`,
			n, n, jsonString(s[15:]))
	}),
	"NDJSON, newest first": newestFirst(each(bothLine,
		quotedBy(jsonString, `{"labels": {"job": "kern"}, "line": %s, "timestamp": "2020-12-04T15:24:33.1Z"}`))),
	"NDJSON, GELF": each(dmesgLine,
		quotedBy(jsonString, `{"version":"1.1","host":"node-1","short_message":%s,"level":4}`)),
	"NDJSON, unknown key": each(dmesgLine,
		quotedBy(jsonString, `{"at":"2020-12-04","evt":{"src":"k","words":%s,"n":5}}`)),
	"NDJSON, another message": each(bothLine, quotedBy(jsonString, `{"level":"info","kmsg":%s,"message":"a line"}`)),
	"NDJSON in NDJSON": each(dmesgLine, func(_ int, s string) string {
		return `{"message":` + jsonString(`{"log":`+jsonString(s)+`}`) + "}"
	}),
	"NDJSON, a report a line": func(r []string) string {
		return `{"log":` + jsonString(strings.Join(dress(dmesgLine, r), "\n")) + "}\n"
	},
	"JSON list": object(bothLine, "[\n", "  LINE", "\n]\n"),
	"JSON list on a line": func(r []string) string {
		return "[" + strings.Join(dress(func(n int, s string) string {
			return jsonString(bothLine(n, s))
		}, r), ", ") + "]\n"
	},
	"JSON, CloudWatch": object(bothLine, "{\n    \"events\": [\n", "        {\n            \"logStreamName\": "+
		"\"i-1\",\n            \"timestamp\": 1607095473N,\n            \"message\": LINE,\n            "+
		"\"ingestionTime\": 1607095474000\n        }", "\n    ],\n    \"searchedLogStreams\": []\n}\n"),
	"JSON, Google": object(dmesgLine, "[\n", "  {\n    \"insertId\": \"N\",\n    \"textPayload\": LINE,\n    "+
		"\"resource\": {\n      \"type\": \"gce_instance\",\n      \"labels\": {\n        \"instance_id\": \"1\"\n "+
		"     }\n    },\n    \"timestamp\": \"2020-12-04T15:24:33Z\"\n  }", "\n]\n"),
	"JSON, Elasticsearch": func(r []string) string {
		return strings.ReplaceAll(object(bothLine, `{"took":3,"hits":{"total":{"value":9},"hits":[`,
			`{"_index":"k","_id":"N","_source":{"@timestamp":"2020-12-04T15:24:33Z","host":{"name":"node-1"},"message":LINE}}`, "]}}")(r), "\n", "") + "\n"
	},
	"JSON, Loki's API": func(r []string) string {
		return strings.ReplaceAll(object(bothLine,
			`{"status":"success","data":{"resultType":"streams","result":[{"stream":{"job":"kern"},"values":[`,
			`["1607095473000000N",LINE]`, "]}]}}")(r), "\n", "")
	},
	"JSON, Datadog": object(dmesgLine, "{\"data\": [\n", "{\"id\": \"AAA\", \"type\": \"log\", "+
		"\"attributes\": {\"status\": \"warn\", \"host\": \"node-1\", \"message\": LINE}}", "]}\n"),
	"JSON, rows": object(bothLine,
		`{"tables":[{"name":"PrimaryResult","columns":[{"name":"TimeGenerated","type":"datetime"},{"name":"SyslogMessage","type":"string"}],"rows":[`, `["2020-12-04T15:24:33Z","node-1",LINE]`, "]}]}\n"),
	"JSON, grep of messages": each(bothLine, quotedBy(jsonString, `            "message": %s,`)),
	"JSON, terminal of 100": func(r []string) string {
		return columns(func(_ int, s string) string {
			return `{"message": ` + jsonString(s) + "}"
		}, 100, false, "")(dress(bothLine, r))
	},
	"Python list": func(r []string) string {
		return "[" + strings.Join(dress(func(n int, s string) string {
			return pythonString(bothLine(n, s))
		}, r), ", ") + "]\n"
	},
	"Python string": func(r []string) string { return pythonString(strings.Join(dress(dmesgLine, r), "\n")) + "\n" },
	"Python bytes": func(r []string) string {
		return "b" + pythonString(strings.Join(dress(bothLine, r), "\n")) + "\n"
	},
	"Python dicts": each(dmesgLine, func(n int, s string) string {
		return fmt.Sprintf("{'n': %d, 'message': %s, 'host': None}", n, pythonString(s))
	}),
	"Ruby array": func(r []string) string {
		return "[nil, " + strings.TrimPrefix(fmt.Sprintf("%q\n", dress(bothLine, r)), "[")
	},
	"C strings": each(dmesgLine, func(_ int, s string) string { return strings.TrimSuffix(jsonString(s), `"`) + `\n"` }),
	"Go slice":  func(r []string) string { return fmt.Sprintf("%q\n", dress(bothLine, r)) },
	"Go string": func(r []string) string {
		return strconv.Quote(strings.Join(dress(dmesgLine, r), "\n")) + "\n"
	},
	"URL": func(r []string) string {
		return url.PathEscape(strings.Join(dress(dmesgLine, r), "\n")) + "\n"
	},
	"URL, line by line": each(bothLine, quotedBy(url.QueryEscape, "%s")),
	"URL of a form": func(r []string) string {
		return "https://example.org/new?title=oom&body=" + url.QueryEscape(strings.Join(dress(bothLine, r), "\r\n")) +
			"&submit=1\n"
	},
	"syslog, octets counted": func(r []string) string {
		return framed(r, "<4>1 2020-12-04T15:24:33Z node-1 kernel - - - ")
	},
	"syslog, octets counted, old": func(r []string) string {
		return framed(dress(bothLine, r), "<4>")
	},
	"syslog, datagrams in a row": func(r []string) string {
		return "<4>" + strings.Join(dress(bothLine, r), "<4>")
	},
	"syslog, new datagrams in a row": func(r []string) string {
		const head = "<4>1 2020-12-04T15:24:33Z node-1 kernel - - - "
		return head + strings.Join(r, head)
	},
	"zero bytes for line ends": func(r []string) string { return strings.Join(dress(dmesgLine, r), "\x00") + "\x00" },
	"CEF": each(dmesgLine, func(_ int, s string) string {
		return "Dec  4 15:24:33 node-1 CEF:0|Linux|kernel|5.10|kern|kernel|4|dvchost=node-1 msg=" + cefEscape(s) +
			" cs1=a b cs1Label=x"
	}),
	"CEF, a report an event": func(r []string) string {
		return "CEF:0|Linux|kernel|5.10|kern|kernel|4|msg=" + cefEscape(strings.Join(dress(dmesgLine, r), "\n")) + "\n"
	},
	"netconsole, in pieces":       fragments("\n"),
	"netconsole, pieces in a row": fragments(""),
	"netconsole, by an address": each(func(_ int, s string) string { return s },
		format("Dec  4 15:24:33 10.0.0.7 %s")),
	"pstore, newest part first": pstoreParts,
	"OpenTelemetry's debug": each(dmesgLine, func(n int, s string) string {
		return fmt.Sprintf("LogRecord #%d\nSeverityNumber: Unspecified(0)\nBody: Str(%s)\nTrace ID: \nFlags: 0", n, s)
	}),
	"XML, an attribute": func(r []string) string {
		return `<failure message="` + strings.ReplaceAll(html.EscapeString(strings.Join(dress(dmesgLine, r), "\n")),
			"\n", "&#10;") + "\"/>\n"
	},
	"words that were searched for": each(dmesgLine, func(_ int, s string) string {
		return strings.NewReplacer("oom-killer", "**oom-killer**", "Killed process", "**Killed process**").Replace(s)
	}),
	"words that Kibana marked": each(dmesgLine, func(_ int, s string) string {
		return strings.ReplaceAll(s, "oom", "@kibana-highlighted-field@oom@/kibana-highlighted-field@")
	}),
	"escapes written out, rsyslog": each(dmesgLine, func(n int, s string) string {
		return syslogLine(n, "#033[32m"+s[:14]+"#033[0m "+s[15:])
	}),
	"escapes written out, cat -v": each(dmesgLine, func(_ int, s string) string {
		return "^[[32m" + s[:14] + "^[[0m " + s[15:]
	}),
	"numbered by nl, no time": each(func(_ int, s string) string { return s }, func(n int, s string) string {
		return fmt.Sprintf("%6d  %s", n+1, s)
	}),
	"line ends lost":   func(r []string) string { return strings.Join(dress(dmesgLine, r), " ") + "\n" },
	"carriage returns": func(r []string) string { return strings.Join(dress(bothLine, r), "\r") },
	"Azure Pipelines":  each(dmesgLine, format("2020-12-04T15:24:33.1234567Z ##[debug]%s")),
	"TeamCity":         each(dmesgLine, format("[15:24:33]W:\t [Step 1/2] %s")),
	"Ansible": func(r []string) string {
		lines := dress(dmesgLine, r)
		b, _ := json.MarshalIndent(map[string]any{"changed": true, "stdout": strings.Join(lines, "\n"),
			"stdout_lines": lines}, "", "  ")
		return string(b)
	},
	"escaped ends": func(r []string) string { return strings.Join(dress(dmesgLine, r), `\n`) + "\n" },
	"rsyslog, a report a line": func(r []string) string {
		return "Dec  4 15:24:33 node-1 kernel: " + strings.Join(r, "#012") + "\n"
	},
	"YAML list": each(bothLine, quotedBy(jsonString, "  - %s")),
	"YAML list, single quotes": each(bothLine, quotedBy(func(s string) string {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}, "- %s")),
	"YAML, folded": each(dmesgLine, func(_ int, s string) string {
		return "---\njsonPayload:\n  MESSAGE: '" + folded(strings.ReplaceAll(s, "'", "''"), "\n    ") + "'"
	}),
	"YAML, folded with backslashes": each(dmesgLine, func(_ int, s string) string {
		return "  - " + folded(jsonString(s), "\\\n      \\ ")
	}),
	"YAML, a report in a string": func(r []string) string {
		return "message: \"" + strings.Join(dress(func(n int, s string) string {
			return strings.Trim(jsonString(dmesgLine(n, s)), `"`)
		}, r), "\\n\\\n  ") + "\"\n"
	},
	"string over lines": func(r []string) string {
		return "data: \"" + strings.Join(dress(dmesgLine, r), "\\n\\\n  ") + "\\n\\\n  \"\n"
	},
	"YAML block": func(r []string) string { return "log: |\n" + each(dmesgLine, format("  %s"))(r) },
	"CSV, header": func(r []string) string {
		return "ts,message\n" + each(dmesgLine, func(n int, s string) string {
			return strconv.Itoa(n) + "," + csvField(s)
		})(r)
	},
	"CSV, Splunk": func(r []string) string {
		return "\"_raw\",\"_time\",host\n" + each(bothLine, func(_ int, s string) string {
			return csvField(s) + `,"2020-12-04T15:24:33.000+0000",n1`
		})(r)
	},
	"CSV, minimal quotes": func(r []string) string {
		return "timestamp,message,logStream\n" + each(bothLine, func(n int, s string) string {
			return fmt.Sprintf("1607095473%03d,%s,i-1", n, csvMinimal(s))
		})(r)
	},
	"CSV, no header": each(bothLine, func(n int, s string) string {
		return fmt.Sprintf(`"2020-12-04 15:24:33","node-1",%s,"%d"`, csvField(s), n)
	}),
	"CSV, semicolons": func(r []string) string {
		return "Date;Host;Message\n" + each(dmesgLine, func(_ int, s string) string {
			return "2020-12-04;n1;" + csvField(s)
		})(r)
	},
	"CSV, newest first": func(r []string) string {
		return "@timestamp,message\n" + newestFirst(each(bothLine, func(_ int, s string) string {
			return `"Dec 4, 2020 @ 15:24:33.000",` + csvField(s)
		}))(r)
	},
	"TSV": func(r []string) string {
		return "time\thost\tmessage\n" + each(dmesgLine, format("2020-12-04T15:24:33Z\tn1\t%s"))(r)
	},
	"HTML, br on a line": func(r []string) string {
		return strings.Join(dress(func(n int, s string) string {
			return html.EscapeString(bothLine(n, s))
		}, r), "<br>")
	},
	"HTML, br":    each(dmesgLine, quotedBy(html.EscapeString, "%s<br />")),
	"HTML, spans": each(bothLine, quotedBy(html.EscapeString, `<span class="line"><span class="n">%s</span></span>`)),
	"XML on a line": func(r []string) string {
		return "<log>" + strings.Join(dress(func(n int, s string) string {
			return "<line>" + html.EscapeString(dmesgLine(n, s)) + "</line>"
		}, r), "") + "</log>"
	},
	"XML, attributes": func(r []string) string {
		return "<log>" + strings.Join(dress(func(n int, s string) string {
			return `<event n="1" message="` + html.EscapeString(bothLine(n, s)) + `"/>`
		}, r), "") + "</log>"
	},
	"XML, CDATA": func(r []string) string {
		return "<log><![CDATA[" + strings.Join(dress(bothLine, r), "\n") + "]]></log>"
	},
	"HTML, pre": func(r []string) string {
		return "<html><body><pre>" + each(dmesgLine, quotedBy(html.EscapeString, "%s"))(r) + "</pre></body></html>\n"
	},
	"HTML, table": each(dmesgLine, func(n int, s string) string {
		return fmt.Sprintf(`<tr><td class="n">%d</td><td>%s</td></tr>`, n, html.EscapeString(s))
	}),
	"HTML, divs, nbsp": each(dmesgLine, func(_ int, s string) string {
		return "<div>" + strings.ReplaceAll(html.EscapeString(s), " ", "&nbsp;") + "</div>"
	}),
	"Markdown, fence": func(r []string) string {
		return "It died:\n\n```\n" + each(bothLine, format("%s"))(r) + "```\n"
	},
	"Markdown, bullets":       each(dmesgLine, format("* %s")),
	"Markdown, bullets, code": each(bothLine, format("- `%s`")),
	"Markdown, code":          each(dmesgLine, format("`%s`  ")),
	"Markdown, bold":          each(bothLine, format("**%s**")),
	"Markdown, quote":         each(bothLine, format("> %s")),
	"Markdown, table": each(dmesgLine, func(n int, s string) string {
		return fmt.Sprintf("| %d | %s |", n, s)
	}),
	"Markdown, table, one": each(bothLine, format("| %s |")),
	"Markdown, numbers":    each(dmesgLine, func(n int, s string) string { return fmt.Sprintf("%d. %s", n+1, s) }),
	"comment":              each(bothLine, format("# %s")),
	"numbered by less":     each(dmesgLine, func(n int, s string) string { return fmt.Sprintf("%7d %s", n+1, s) }),
	"numbered by grep":     each(bothLine, func(n int, s string) string { return fmt.Sprintf("%d:%s", n+1, s) }),
	"other programs between": each(syslogLine, func(n int, s string) string {
		return fmt.Sprintf("%s\nDec  4 15:24:33 node-1 app[%d]: request %d took 3ms", s, n, n)
	}),
	"other programs, NDJSON": each(dmesgLine, func(n int, s string) string {
		return fmt.Sprintf("{\"log\":%s}\n{\"log\":\"GET /x 200 %d\"}", jsonString(s), n)
	}),
	"a log around it": func(r []string) string {
		return strings.Repeat("[    1.000000] usb 1-1: new device\n", 50) + each(dmesgLine, format("%s"))(r) +
			strings.Repeat("[99999.000000] usb 1-1: gone\n", 50)
	},
	"a hole of zeros before it": func(r []string) string {
		return strings.Repeat("\x00", 4096) + each(bothLine, format("%s"))(r)
	},
	"marked and without newline": func(r []string) string {
		return bom + strings.TrimSuffix(each(bothLine, format("%s\r"))(r), "\r\n")
	},
}

// framed puts the number of octets before each message, and nothing behind it.
func framed(lines []string, head string) string {
	var b strings.Builder
	for _, line := range lines {
		fmt.Fprintf(&b, "%d %s", len(head+line), head+line)
	}
	return b.String()
}

func cefEscape(s string) string {
	return strings.NewReplacer(`\`, `\\`, "=", `\=`, "\n", `\n`).Replace(s)
}

// fragments are the records of extended netconsole, those that are long in pieces.
func fragments(end string) func([]string) string {
	return func(records []string) string {
		var b strings.Builder
		for n, s := range records {
			head := fmt.Sprintf("6.1.0,4,%d,%d,-,caller=T1", n+1, 1000000+n)
			const most = 60
			if len(s) < most {
				b.WriteString(head + ";" + s + "\n")
				continue
			}
			for at := 0; at < len(s); at += most {
				piece := s[at:min(len(s), at+most)]
				fmt.Fprintf(&b, "%s,ncfrag=%d/%d;%s", head, at, len(s)+1, piece)
				if at+most >= len(s) {
					b.WriteString("\n")
				} else {
					b.WriteString(end)
				}
			}
		}
		return b.String()
	}
}

// pstoreParts is a dump as firmware keeps it: in parts, numbered from its end.
func pstoreParts(records []string) string {
	lines := dress(dmesgLine, records)
	var parts []string
	for n := 1; len(lines) > 0; n++ {
		from := max(0, len(lines)-7)
		parts = append(parts, fmt.Sprintf("Panic#1 Part%d\n<4>%s\n", n, strings.Join(lines[from:], "\n<4>")))
		lines = lines[:from]
	}
	return strings.Join(parts, "")
}

// brokenWords wraps as Python's textwrap does: a word longer than a line fills it up.
func brokenWords(lines []string, width int) string {
	var b strings.Builder
	for _, line := range lines {
		column := 0
		for i, word := range strings.Split(line, " ") {
			switch {
			case i == 0:
			case column+1+len(word) <= width || column+1 < width && len(word) > width:
				b.WriteByte(' ')
				column++
			default:
				b.WriteByte('\n')
				column = 0
			}
			for column+len(word) > width {
				b.WriteString(word[:width-column] + "\n")
				word, column = word[width-column:], 0
			}
			b.WriteString(word)
			column += len(word)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func mailOf(records []string) string {
	code := base64.StdEncoding.EncodeToString([]byte(strings.Join(dress(dmesgLine, records), "\r\n") + "\r\n"))
	var b strings.Builder
	b.WriteString("From: a@example.org\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	for len(code) > 0 {
		n := min(76, len(code))
		b.WriteString(code[:n] + "\r\n")
		code = code[n:]
	}
	return b.String()
}

// TestDocuments: a report is the same report, whatever document it is in.
func TestDocuments(t *testing.T) {
	for name, log := range fixtures(t) {
		want := plain(oneReport(t, log))
		records := strings.Split(strings.TrimSuffix(log, "\n"), "\n")
		for document, of := range documents {
			t.Run(name+"/"+document, func(t *testing.T) {
				text := of(records)
				all := reportsOf(t, []byte(text))
				if len(all) != 1 {
					t.Fatalf("%d reports of\n%.3000s\n%s", len(all), text, jsonOf(all))
				}
				if got := plain(all[0]); !reflect.DeepEqual(got, want) {
					t.Errorf("\ngot  %s\nwant %s\nof %.6000s", jsonOf(got), jsonOf(want), text)
				}
			})
		}
	}
}

// TestWrappings reads one report in the files of testdata/wrappings.
func TestWrappings(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "wrappings", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	const pod = "/kubepods/burstable/pod465a9fc1-0de9-44cd-b22c-7e6b23fd75f8"
	want := "calloc 28285; cgroup " + pod + " task " + pod +
		"/beead52e53d4918e7b2820c2712151f2833e4055bc72abc9ea287a02459fc55a; " +
		"killed 28285 calloc; 8111 pause 1, 8255 sleep 146, 14119 bash 710, 21462 bash 690, 28285 calloc 65119, " +
		"missing "
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			text, err := unpack.Open(f)
			if err != nil {
				t.Fatal(err)
			}
			log, err := io.ReadAll(text)
			if err != nil {
				t.Fatal(err)
			}
			want := want
			if strings.Contains(file, "nagios") { // one line of it
				want = " -; unknown; killed 28285 calloc; missing head, task table"
			}
			if got := facts(oneReport(t, string(log))); got != want {
				t.Errorf("\n got %s\nwant %s", got, want)
			}
		})
	}
}

// TestYAMLWithoutValues: a key that has none, or an open quote and nothing else, is no
// string that goes on, and what follows is read all the same.
func TestYAMLWithoutValues(t *testing.T) {
	for _, before := range []string{"  msg:  \n", "  msg: \r\n", "- '\n", "- \"\n", "  - \"\\\n", "  msg: '\n     \n"} {
		for _, after := range []string{"", "      x\n", "\n"} {
			got := reportsOf(t, []byte(before+after+report618))
			if len(got) != 1 || len(got[0].Kills) == 0 {
				t.Errorf("%q: %d reports", before+after, len(got))
			}
		}
	}
}
