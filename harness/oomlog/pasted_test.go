package oomlog

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"html"
	"mime/quotedprintable"
	"slices"
	"strconv"
	"strings"
)

func init() {
	for name, of := range moreDocuments {
		if documents[name] != nil {
			panic(name + " is there twice")
		}
		documents[name] = of
	}
}

func bare(_ int, s string) string { return s }

func inBase64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func gzipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(s))
	w.Close()
	return b.String()
}

// moreDocuments are what people paste from programs, stores and chats.
var moreDocuments = map[string]func(records []string) string{
	"Lua, list": func(r []string) string {
		return "{\n" + each(dmesgLine, func(_ int, s string) string { return "  " + jsonString(s) + "," })(r) + "}\n"
	},
	"Lua, numbered": func(r []string) string {
		return "lines = {\n" + each(bothLine, func(n int, s string) string {
			return fmt.Sprintf("  [%d] = %s,", n+1, strconv.Quote(s))
		})(r) + "}\n"
	},
	"Lua, tables": func(r []string) string {
		return "return {\n" + each(dmesgLine, func(n int, s string) string {
			return fmt.Sprintf("  { time = %d, message = %s, host = 'n1' },", n+1, strconv.Quote(s))
		})(r) + "}\n"
	},
	"Lua, on a line": func(r []string) string {
		return "{ " + strings.Join(dress(func(n int, s string) string { return jsonString(dmesgLine(n, s)) }, r),
			", ") + " }\n"
	},
	"Lua, long brackets": func(r []string) string {
		return "local log = [[" + strings.Join(dress(dmesgLine, r), "\n") + "]]\n"
	},
	"PubSub": func(r []string) string {
		var e []string
		for n, s := range r {
			e = append(e, `{"ackId":"abc","message":{"data":"`+inBase64(dmesgLine(n,
				s))+`","messageId":"`+strconv.Itoa(n)+`","publishTime":"2020-12-04T15:24:33Z"}}`)
		}
		return `{"receivedMessages":[` + strings.Join(e, ",") + "]}\n"
	},
	"PubSub, LogEntry, lines": each(bothLine, func(n int, s string) string {
		return `{"message":{"data":"` + inBase64(`{"insertId":"x","textPayload":`+jsonString(
			s)+`,"timestamp":"2020-12-04T15:24:33Z"}`) + `","messageId":"1"},"subscription":"s"}`
	}),
	"PubSub, pretty": object(func(n int, s string) string { return inBase64(dmesgLine(n, s)) }, "[\n",
		"  {\n    \"ackId\": \"N\",\n    \"message\": {\n      \"data\": LINE,\n      \"messageId\": \"N\"\n    "+
			"}\n  }", "\n]\n"),
	"CloudWatch, awslogs": func(r []string) string {
		var e []string
		for n, s := range r {
			e = append(e, fmt.Sprintf(`{"id":"%d","timestamp":1607095473%03d,"message":%s}`, n, n, jsonString(
				bothLine(n, s))))
		}
		return `{"awslogs":{"data":"` + inBase64(gzipped(`{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g`+
			`","logStream":"s","logEvents":[`+strings.Join(e, ",")+"]}")) + "\"}}\n"
	},
	"base64 in body": func(r []string) string {
		return `{"resource":"/log","isBase64Encoded":true,"body":"` + inBase64(strings.Join(dress(dmesgLine, r),
			"\n")+"\n") + "\"}\n"
	},
	"base64 in data, configmap": func(r []string) string {
		return "{\n  \"apiVersion\": \"v1\",\n  \"binaryData\": {\n    \"dmesg.log\": \"" + inBase64(strings.Join(
			dress(dmesgLine, r), "\n")+"\n") + "\"\n  },\n  \"kind\": \"ConfigMap\"\n}\n"
	},
	"base64 in data, secret yaml": func(r []string) string {
		return "apiVersion: v1\ndata:\n  dmesg.log: " + inBase64(strings.Join(dress(dmesgLine, r), "\n")+"\n") +
			"\nkind: Secret\n"
	},
	"base64 gzip in body": func(r []string) string {
		return `{"body":"` + inBase64(gzipped(strings.Join(dress(bothLine, r), "\n")+"\n")) + "\"}\n"
	},
	"Kinesis records": func(r []string) string {
		var e []string
		for n, s := range r {
			e = append(e, `{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":"1","data":"`+inBase64(bothLine(n,
				s))+`"},"eventSource":"aws:kinesis"}`)
		}
		return `{"Records":[` + strings.Join(e, ",") + "]}\n"
	},
	"etcd/consul, Value": func(r []string) string {
		return `[{"LockIndex":0,"Key":"logs/dmesg","Flags":0,"Value":"` + inBase64(strings.Join(dress(dmesgLine, r),
			"\n")) + `"}]` + "\n"
	},
	"base64 lines":  each(dmesgLine, quotedBy(inBase64, "%s")),
	"pdsh, no time": each(bare, format("node01: %s")),
	"pdsh, dmesg":   each(dmesgLine, format("node01: %s")),
	"pdsh, syslog":  each(syslogLine, format("node01: %s")),
	"clush, range":  each(bare, format("node[01-04]: %s")),
	"clush, gathered": func(r []string) string {
		return "---------------\nnode[01-02] (2)\n---------------\n" + each(bare, format("%s"))(r)
	},
	"pdsh, domain, no time":  each(bare, format("node01.example.com: %s")),
	"pdsh, address, no time": each(bare, format("10.0.0.7: %s")),
	"ansible, ad hoc": func(r []string) string {
		return "node-1 | CHANGED | rc=0 >>\n" + each(dmesgLine, format("%s"))(r)
	},
	"ansible, ad hoc, oneline": func(r []string) string {
		return "node-1 | CHANGED | rc=0 | (stdout) " + strings.Join(dress(dmesgLine, r), `\n`) + "\n"
	},
	"ansible, no time": each(bare, format("node-1 | %s")),
	"ansible debug": func(r []string) string {
		return "ok: [node-1] => {\n    \"out.stdout_lines\": [\n" + strings.TrimSuffix(each(dmesgLine, func(_ int,
			s string) string {
			return "        " + jsonString(s) + ","
		})(r), ",\n") + "\n    ]\n}\n"
	},
	"ansible yaml callback": func(r []string) string {
		return "ok: [node-1] =>\n  out.stdout_lines:\n" + each(dmesgLine, func(_ int,
			s string) string {
			return "  - '" + strings.ReplaceAll(s, "'", "''") + "'"
		})(r)
	},
	"pssh": func(r []string) string {
		return "[1] 15:24:33 [SUCCESS] node-1\n" + each(bare, format("%s"))(
			r)
	},
	"parallel --tag": each(bare, format("node-1\t%s")),
	"dsh, colon":     each(bare, format("node-1:%s")),
	"salt":           func(r []string) string { return "node-1:\n" + each(dmesgLine, format("    %s"))(r) },
	"salt, no time":  func(r []string) string { return "node-1:\n" + each(bare, format("    %s"))(r) },
	"quote in quote": each(dmesgLine, format("> > %s")),
	"details": func(r []string) string {
		return "<details><summary>dmesg</summary>\n\n```\n" + each(dmesgLine, format("%s"))(r) + "```\n\n</details>\n"
	},
	"details, pre code": func(r []string) string {
		return "<details><summary>dmesg</summary><pre><code>" + strings.TrimSuffix(each(dmesgLine, quotedBy(
			html.EscapeString, "%s"))(r), "\n") + "</code></pre></details>\n"
	},
	"Slack export": func(r []string) string {
		t := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(strings.Join(dress(bothLine, r), "\n"))
		return "[\n    {\n        \"client_msg_id\": \"x\",\n        \"type\": \"message\",\n        \"text\": " +
			strings.ReplaceAll(jsonString("it died ```"+t+"```"), "\\u0026", "&") +
			",\n        \"user\": \"U1\",\n        \"ts\": \"1607095473.000100\"\n    }\n]\n"
	},
	"Slack copy": func(r []string) string {
		return "Alice Example\n  3:24 PM\n" + each(dmesgLine, format("%s"))(r) + "3:25\nthanks\n"
	},
	"Jira noformat": func(r []string) string {
		return "It died:\n{noformat}\n" + each(bothLine, format("%s"))(r) + "{noformat}\nhelp\n"
	},
	"Jira noformat inline": func(r []string) string {
		return "It died: {noformat}" + strings.TrimSuffix(each(dmesgLine, format("%s"))(r), "\n") + "{noformat}\nhelp\n"
	},
	"Jira code, title": func(r []string) string {
		return "{code:title=dmesg|borderStyle=solid}\n" + each(bare, format("%s"))(r) + "{code}\n"
	},
	"Jira code inline raw": func(r []string) string {
		return "{code}" + strings.TrimSuffix(each(bare, format("%s"))(r), "\n") + "{code}\n"
	},
	"BBCode": func(r []string) string {
		return "[code]" + strings.Join(dress(dmesgLine, r), "\n") +
			"[/code]\n"
	},
	"BBCode, raw":        func(r []string) string { return "[CODE]" + strings.Join(r, "\n") + "[/CODE]\n" },
	"fence, inline":      func(r []string) string { return "```" + strings.Join(dress(dmesgLine, r), "\n") + "```\n" },
	"fence, inline, raw": func(r []string) string { return "```" + strings.Join(r, "\n") + "```\n" },
	"Windows Terminal, 120": func(r []string) string {
		return strings.ReplaceAll(columns(bothLine, 120, true, "")(r), "\n", "\r\n")
	},
	"Windows Terminal, 120, unpadded": func(r []string) string {
		return strings.ReplaceAll(columns(bothLine, 120, false, "")(r), "\n", "\r\n")
	},
	"CSV, Datadog": func(r []string) string {
		return "Date,Host,Service,Message\n" + each(dmesgLine, func(_ int, s string) string {
			return "2020-12-04T15:24:33.123Z,node-1,kernel," + csvField(s)
		})(r)
	},
	"CSV, Datadog, Content, all quoted": func(r []string) string {
		return "\"Date\",\"Host\",\"Service\",\"Content\"\n" + each(bothLine, func(_ int, s string) string {
			return "\"2020-12-04T15:24:33.123Z\",\"node-1\",\"\"," + csvField(s)
		})(r)
	},
	"CSV, Sumo": func(r []string) string {
		return "\"_messagetimems\",\"_messagetime\",\"_raw\",\"_sourcehost\"\n" + each(bothLine, func(n int,
			s string) string {
			return "\"1607095473000\",\"12/04/2020 15:24:33.000 +0000\"," + csvField(s) + ",\"node-1\""
		})(r)
	},
	"CSV, Splunk table": func(r []string) string {
		return "_time,host,index,linecount,source,sourcetype,\"splunk_server\",\"_raw\"\n" + each(bothLine, func(
			n int, s string) string {
			return "\"2020-12-04T15:24:33.000+0000\",n1,os,1,\"/var/log/messages\",syslog,s1," + csvField(s)
		})(r)
	},
	"CSV, pipes": func(r []string) string {
		return "ts|message\n" + each(dmesgLine, func(n int, s string) string { return strconv.Itoa(n) + "|" + s })(r)
	},
	"GCP, jsonPayload": object(bare, "[\n", "  {\n    \"insertId\": \"N\",\n    \"jsonPayload\": {\n     "+
		" \"MESSAGE\": LINE,\n      \"PRIORITY\": \"6\",\n      \"SYSLOG_IDENTIFIER\": \"kernel\",\n      \"_HOST"+
		"NAME\": \"node-1\",\n      \"_TRANSPORT\": \"kernel\"\n    },\n    \"timestamp\": \"2020-12-04T15:24:33"+
		"Z\"\n  }", "\n]\n"),
	"GCP, jsonPayload.message": object(dmesgLine, "[\n", "  {\n    \"insertId\": \"N\",\n    \"jsonPayload\": {\n"+
		"      \"message\": LINE\n    },\n    \"timestamp\": \"2020-12-04T15:24:33Z\"\n  }", "\n]\n"),
	"GCP, newest first": func(r []string) string {
		var e []string
		for n, s := range r {
			e = append(e, fmt.Sprintf("  {\n    \"insertId\": \"a\",\n    \"textPayload\": %s,\n    \"timestamp\""+
				": \"2020-12-04T15:24:33.%06dZ\"\n  }", jsonString(bothLine(n, s)), n))
		}
		slices.Reverse(e)
		return "[\n" + strings.Join(e, ",\n") + "\n]\n"
	},
	"GCP, yaml": func(r []string) string {
		return each(dmesgLine, func(n int, s string) string {
			return "---\ninsertId: a\njsonPayload:\n  MESSAGE: '" + strings.ReplaceAll(s, "'", "''") +
				"'\n  PRIORITY: '6'\nlogName: projects/p/logs/k\ntimestamp: '2020-12-04T15:24:33Z'"
		})(r)
	},
	"az, table": func(r []string) string {
		lines := dress(dmesgLine, r)
		w := 0
		for _, l := range lines {
			w = max(w, len(l))
		}
		out := fmt.Sprintf("%-10s  %-*s  %s\n%s  %s  %s\n", "Computer", w, "SyslogMessage", "TimeGenerated",
			strings.Repeat("-", 10), strings.Repeat("-", w), strings.Repeat("-", 24))
		for _, l := range lines {
			out += fmt.Sprintf("%-10s  %-*s  %s\n", "node-1", w, l, "2020-12-04T15:24:33.123Z")
		}
		return out
	},
	"az, table, last": func(r []string) string {
		out := "TimeGenerated             Computer    SyslogMessage\n------------------------  ----------  ------" +
			"-------\n"
		for _, l := range r {
			out += fmt.Sprintf("%-24s  %-10s  %s\n", "2020-12-04T15:24:33.123Z", "node-1", l)
		}
		return out
	},
	"must-gather, node-logs": each(bothLine, func(n int, s string) string {
		return "Dec 04 15:24:33.123456 node-1 kernel: " + s[len("Dec  4 15:24:33 node-1 kernel: "):]
	}),
	"oc adm node-logs": each(syslogLine, func(n int, s string) string {
		return "node-1.example.com Dec 04 15:24:33.123456 node-1 kernel: " + s[len("Dec  4 15:24:33 node-1 kernel: "):]
	}),
	"aws console, text": func(r []string) string {
		return "i-0123456789abcdef0\t" + strings.Join(dress(dmesgLine, r), "\r\n") + "\r\n\t2020-12-04T15:24:33.000Z\n"
	},
	"aws console, json": func(r []string) string {
		return "{\n    \"InstanceId\": \"i-0123456789abcdef0\",\n    \"Output\": " + jsonString(strings.Join(dress(
			dmesgLine, r), "\r\n")+"\r\n") + ",\n    \"Timestamp\": \"2020-12-04T15:24:33.000Z\"\n}\n"
	},
	"aws console, base64": func(r []string) string {
		return "{\n    \"InstanceId\": \"i-0123456789abcdef0\",\n    \"Output\": \"" + inBase64(strings.Join(dress(
			dmesgLine, r), "\r\n")+"\r\n") + "\"\n}\n"
	},
	"aws logs get-log-events, text": each(bothLine, func(n int, s string) string {
		return fmt.Sprintf("EVENTS\t1607095474000\t%s\t1607095473%03d", s, n)
	}),
	"aws logs insights": object(bothLine, "{\n    \"results\": [\n", "        [\n            {\n               "+
		" \"field\": \"@timestamp\",\n                \"value\": \"2020-12-04 15:24:33.000\"\n            },\n   "+
		"         {\n                \"field\": \"@message\",\n                \"value\": LINE\n            },\n "+
		"           {\n                \"field\": \"@ptr\",\n                \"value\": \"CmEK\"\n            }\n"+
		"        ]", "\n    ],\n    \"status\": \"Complete\"\n}\n"),
	"serial, boot text between": each(dmesgLine, func(n int, s string) string {
		return s + "\n[  OK  ] Started Daily apt upgrade " + strconv.Itoa(n) + ".\n         Starting Foo..."
	}),
	"serial, coloured OK between": each(dmesgLine, func(n int, s string) string {
		return s + "\r\n[\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39mfoo.service\x1b[0m.\r"
	}),
	"serial, boot text before": each(dmesgLine, func(n int, s string) string {
		if n%5 == 2 {
			return "[  OK  ] Started foo.service." + s
		}
		return s
	}),
	"serial, login before": each(dmesgLine, func(n int, s string) string {
		if n%4 == 1 {
			return "node-1 login: " + s
		}
		return s
	}),
	"journalctl, colour": each(syslogLine, func(n int, s string) string {
		return s[:len("Dec  4 15:24:33 node-1 kernel: ")] + "\x1b[0;1;38;5;185m" + s[len(
			"Dec  4 15:24:33 node-1 kernel: "):] + "\x1b[0m"
	}),
	"journalctl, colour, highlights": each(syslogLine, func(n int, s string) string {
		return s[:len("Dec  4 15:24:33 node-1 kernel: ")] + "\x1b[0;1;39m\x1b[0;1;39m" + strings.ReplaceAll(s[len(
			"Dec  4 15:24:33 node-1 kernel: "):], "oom", "\x1b[0;1;31moom\x1b[0;1;39m") + "\x1b[0m"
	}),
	"dmesg, colour": each(dmesgLine, func(n int, s string) string {
		return "\x1b[32m" + s[:15] + "\x1b[0m\x1b[33m" + s[15:] + "\x1b[0m"
	}),
	"grep, colour": each(syslogLine, func(n int, s string) string {
		return strings.ReplaceAll(s, "oom", "\x1b[01;31m\x1b[Koom\x1b[m\x1b[K")
	}),
	"HTML mail, quoted-printable": func(r []string) string {
		var b strings.Builder
		b.WriteString("From: a@example.org\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: qu" +
			"oted-printable\n\n")
		w := quotedprintable.NewWriter(&b)
		w.Write([]byte("<html><body><p style=\"color: red\">"))
		for _, s := range dress(bothLine, r) {
			w.Write([]byte("<div style=\"font-family: monospace\">" + strings.ReplaceAll(html.EscapeString(s), " ",
				"&nbsp;") + "</div>\n"))
		}
		w.Write([]byte("</p></body></html>\n"))
		w.Close()
		return b.String()
	},
	"HTML mail, quoted-printable, br, no header": func(r []string) string {
		var b strings.Builder
		w := quotedprintable.NewWriter(&b)
		for _, s := range dress(dmesgLine, r) {
			w.Write([]byte(strings.ReplaceAll(html.EscapeString(s), "  ", "&nbsp; ") + "<br>"))
		}
		w.Close()
		return b.String() + "\n"
	},
	"HTML mail, quoted-printable, CRLF": func(r []string) string {
		var b strings.Builder
		b.WriteString("Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
		w := quotedprintable.NewWriter(&b)
		for _, s := range dress(dmesgLine, r) {
			w.Write([]byte("<tr><td style=\"x\">" + strings.ReplaceAll(html.EscapeString(s), " ", "\u00a0") +
				"</td></tr>\r\n"))
		}
		w.Close()
		return b.String()
	},
	"mail, quoted-printable, nbsp": func(r []string) string {
		return strings.ReplaceAll(printable(dress(bare, r)), "  ", "=C2=A0 ")
	},
	"fly":                  each(dmesgLine, format("2020-12-04T15:24:33Z app[e784079b449483] fra [info]%s")),
	"fly, blank":           each(dmesgLine, format("2020-12-04T15:24:33.123 app[e784079b449483] fra [info] %s")),
	"kibana copy":          each(bothLine, format("Dec 4, 2020 @ 15:24:33.000\t%s")),
	"kibana copy, no time": each(bare, format("Dec 4, 2020 @ 15:24:33.000 node-1 %s")),
	"grafana txt":          each(bothLine, format("2020-12-04T15:24:33.123Z\t%s")),
	"grafana, own lines":   each(dmesgLine, format("2020-12-04 15:24:33.123\t\n%s")),
	"GitLab CI":            each(dmesgLine, format("2020-12-04T15:24:33.123456Z 01O %s")),
	"GitLab CI, section": func(r []string) string {
		return "section_start:1607095473:step_script\r\x1b[0K\x1b[0K" + each(dmesgLine, format("%s"))(r) +
			"section_end:1607095473:step_script\r\x1b[0K\n"
	},
	"asciinema": func(r []string) string {
		return `{"version": 2, "width": 200, "height": 50}` + "\n" + each(dmesgLine, func(n int, s string) string {
			return fmt.Sprintf(`[%d.5, "o", %s]`, n, jsonString(s+"\r\n"))
		})(r)
	},
	"JSON strings":        each(bothLine, quotedBy(jsonString, "%s")),
	"JSON strings, comma": each(bothLine, quotedBy(jsonString, "%s,")),
	"rubydebug": each(bothLine, quotedBy(jsonString, "{\n       \"message\" => %s,\n    \"@timestamp\" "+
		"=> 2020-12-04T15:24:33.000Z,\n          \"host\" => \"node-1\",\n      \"@version\" => \"1\"\n}")),
	"PHP print_r": func(r []string) string {
		return "Array\n(\n" + each(dmesgLine, func(n int, s string) string {
			return fmt.Sprintf("    [%d] => %s", n,
				s)
		})(r) + ")\n"
	},
	"PHP print_r, raw": func(r []string) string {
		return "Array\n(\n" + each(bare, func(n int, s string) string { return fmt.Sprintf("    [%d] => %s", n, s) })(
			r) + ")\n"
	},
	"PHP var_dump": func(r []string) string {
		return fmt.Sprintf("array(%d) {\n", len(r)) + each(dmesgLine, func(n int, s string) string {
			return fmt.Sprintf("  [%d]=>\n  string(%d) \"%s\"", n, len(s), s)
		})(r) + "}\n"
	},
	"Perl Dumper": func(r []string) string {
		return "$VAR1 = [\n" + each(dmesgLine, func(n int, s string) string {
			return "          " + pythonString(s) +
				","
		})(r) + "        ];\n"
	},
	"TOML": func(r []string) string {
		return "lines = [\n" + each(dmesgLine, func(n int, s string) string { return "  " + jsonString(s) + "," })(
			r) + "]\n"
	},
	"TOML, text": func(r []string) string { return "log = \"\"\"\n" + each(dmesgLine, format("%s"))(r) + "\"\"\"\n" },
	"SQL insert": each(bothLine, func(n int, s string) string {
		return fmt.Sprintf("INSERT INTO `log` VALUES (%d,'2020-12-04 15:24:33','node-1',%s);", n, pythonString(s))
	}),
	"MySQL": func(r []string) string {
		w := 0
		for _, l := range dress(dmesgLine, r) {
			w = max(w, len(l))
		}
		rule := "+----+" + strings.Repeat("-", w+2) + "+\n"
		return rule + fmt.Sprintf("| id | %-*s |\n", w, "message") + rule + each(dmesgLine, func(n int,
			s string) string {
			return fmt.Sprintf("| %2d | %-*s |", n, w, s)
		})(r) + rule
	},
	"psql": func(r []string) string {
		return " id |  message \n----+-----------\n" + each(bare, func(n int, s string) string {
			return fmt.Sprintf(
				" %2d | %s", n, s)
		})(r) + "(12 rows)\n"
	},
	"psql, expanded": each(dmesgLine, func(n int, s string) string {
		return fmt.Sprintf("-[ RECORD %d ]---\nid      | %d\nmessage | %s", n+1, n, s)
	}),
	"sqlite3": each(bare, func(n int, s string) string { return fmt.Sprintf("%d|%s", n+1, s) }),
	"OTLP": func(r []string) string {
		return strings.ReplaceAll(object(bothLine, `{"resourceLogs":[{"resource":{"attributes":[{"key":"host.name`+
			`","value":{"stringValue":"node-1"}}]},"scopeLogs":[{"scope":{},"logRecords":[`,
			`{"timeUnixNano":"160709547300000000N","severityText":"warn","body":{"stringValue":LINE},"attributes"`+
				`:[{"key":"log.file.name","value":{"stringValue":"kern.log"}}]}`, `]}]}]}`)(r), "\n", "") + "\n"
	},
	"OTLP, pretty": object(bothLine, "{\n \"resourceLogs\": [{\"scopeLogs\": [{\"logRecords\": [\n",
		"{\n  \"timeUnixNano\": \"160709547300000000N\",\n  \"body\": {\n    \"stringValue\": LINE\n  }\n}",
		"\n]}]}]}\n"),
	"Splunk JSON": each(bothLine, quotedBy(jsonString, `{"preview":false,"offset":1,"result":{"_raw":%s,"_tim`+
		`e":"2020-12-04T15:24:33.000+00:00","host":"n1"}}`)),
	"stern":      each(dmesgLine, format("node-debugger-x7f2k debugger %s")),
	"stern, raw": each(bare, format("node-debugger-x7f2k debugger %s")),
	"kail":       each(dmesgLine, format("default/node-debugger-x7f2k[debugger]: %s")),
	"swarm":      each(dmesgLine, format("web.1.abcdefgh@node-1    | %s")),
	"indented":   each(bare, format("    %s")),
	"org":        each(bare, format(": %s")),
	"diff":       each(dmesgLine, format("+%s")),
	"diff, raw":  each(bare, format("+%s")),
	"reST": func(r []string) string {
		return "It died::\n\n" + each(dmesgLine, format("    %s"))(r) +
			"\nWhy?\n"
	},
	"troff":           func(r []string) string { return ".nf\n" + each(bare, format("%s"))(r) + ".fi\n" },
	"irc":             each(dmesgLine, format("15:24 < alice> %s")),
	"irc, raw":        each(bare, format("[15:24] <alice> %s")),
	"telegram":        each(bare, format("[04.12.20 15:24] Alice: %s")),
	"powershell list": each(dmesgLine, format("\r\nTimeCreated : 04.12.2020 15:24:33\r\nMessage     : %s\r\n")),
	"logfmt, unquoted": each(bare, func(n int, s string) string {
		return "ts=2020-12-04T15:24:33Z caller=kmsg.go:12 level=warn msg=" + jsonString(s)
	}),
	"klog":                each(dmesgLine, format("I1204 15:24:33.123456     812 kmsg.go:12] %s")),
	"zap console":         each(dmesgLine, format("2020-12-04T15:24:33.123Z\tINFO\tkmsg\t%s")),
	"log4j":               each(dmesgLine, format("2020-12-04 15:24:33,123 INFO  [main] c.e.Kmsg - %s")),
	"python logging":      each(dmesgLine, format("INFO:kmsg:%s")),
	"python logging, raw": each(bare, format("INFO:kmsg:%s")),
	"systemd-cat tag":     each(dmesgLine, format("Dec 04 15:24:33 node-1 kernel[-]: %s")),
	"xen xl dmesg":        each(dmesgLine, format("(d1) %s")),
	"libvirt console ts":  each(dmesgLine, format("2020-12-04 15:24:33.123+0000: %s")),
	"minicom ts":          each(dmesgLine, format("[2020-12-04 15:24:33] %s")),
	"conserver":           each(dmesgLine, format("[Fri Dec  4 15:24:33 2020]%s")),
	"ts":                  each(dmesgLine, format("Dec 04 15:24:33 %s")),
	"ts -s":               each(dmesgLine, format("00:00:03 %s")),
	"ts, raw":             each(bare, format("Dec 04 15:24:33 %s")),
	"multitail":           each(syslogLine, format("00] %s")),
	"tail of many": func(r []string) string {
		return "==> /var/log/kern.log <==\n" + each(syslogLine, format(
			"%s"))(r)
	},
	"pstore, dmesg-ramoops": func(r []string) string {
		return "Oops#1 Part1\n" + each(dmesgLine, func(n int, s string) string { return "<4>" + s })(r)
	},
	"kdump": func(r []string) string {
		return each(dmesgLine, format("%s"))(r) + "[ 9999.000001] Kernel panic - not syncing: sysrq triggered crash\n"
	},
	"syslog in JSON in CSV": func(r []string) string {
		return "time,message\n" + each(bothLine, func(n int, s string) string {
			return "1," + csvField(`{"log":`+jsonString(s+"\n")+`,"stream":"stdout"}`)
		})(r)
	},
	"syslog, PRI newest": each(bare, format("<4>Dec  4 15:24:33 node-1 kernel: %s")),
	"Erlang, binaries": func(r []string) string {
		return "[" + strings.Join(dress(dmesgQuoted("<<%s>>"), r), ",\n ") + "].\n"
	},
	"Erlang, on a line": func(r []string) string {
		return "[" + strings.Join(dress(dmesgQuoted("<<%s/utf8>>"), r), ",") + "].\n"
	},
	"R": func(r []string) string {
		return "x <- c(" + strings.Join(dress(dmesgQuoted("%s"), r), ",\n  ") + ")\n"
	},
	"Rust": func(r []string) string {
		return "let l = vec![" + strings.Join(dress(dmesgQuoted("%s"), r), ",\n") + "];\n"
	},
	"Lisp, pairs": func(r []string) string {
		return "(" + strings.Join(dress(dmesgQuoted("(1 %s)"), r), "\n ") + ")\n"
	},
	"Go, raw string": func(r []string) string {
		return "const l = `" + strings.Join(dress(dmesgLine, r), "\n") + "`\n"
	},
	"SQL, VALUES": func(r []string) string {
		return "INSERT INTO logs (id, host, msg) VALUES\n" + strings.Join(dress(sqlTuple, r), ",\n") + ";\n"
	},
	"SQL, VALUES, on a line": func(r []string) string {
		return "INSERT INTO `logs` VALUES " + strings.Join(dress(sqlTuple, r), ",") + ";\n"
	},
	"SQL, INSERT of each": func(r []string) string {
		return "insert into logs values" + strings.Join(dress(sqlTuple, r), ";\ninsert into logs values") + ";\n"
	},
	"az, tsv": each(dmesgLine, format("2020-12-04T15:24:33.123Z\tn1\t%s\tPrimaryResult")),
	"Lua, long brackets of each": func(r []string) string {
		return "{\n" + each(dmesgLine, format("  [[%s]],"))(r) + "}\n"
	},
}

// Each of the line ends that a log may have instead of newlines.
func init() {
	for _, end := range lineEnds {
		documents[fmt.Sprintf("line ends %q", end)] = func(r []string) string {
			return strings.Join(dress(dmesgLine, r), end)
		}
	}
}

func dmesgQuoted(f string) func(int, string) string {
	return func(n int, s string) string { return fmt.Sprintf(f, strconv.Quote(dmesgLine(n, s))) }
}

func sqlTuple(n int, s string) string {
	return fmt.Sprintf("(%d,'n1','%s')", n+1, strings.ReplaceAll(dmesgLine(n, s), "'", "''"))
}
