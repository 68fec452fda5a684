
"use strict";
(() => {
const $ = (id) => document.getElementById(id);
const mostLink = 30000; // characters of a link that tickets and chats still take
const mostKept = 1 << 20; // characters of a log that may become a link
let ready, current = 0, text = "", shown = 0;
const loaded = new Promise((resolve) => { ready = resolve; });
globalThis.oomlabReady = () => ready();

function status(message, bad) {
  $("status").textContent = message;
  $("status").classList.toggle("bad", Boolean(bad));
}

function fromBase64(s) {
  const raw = atob(s);
  const out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return out;
}

function toBase64URL(bytes) {
  let raw = "";
  for (const b of bytes) raw += String.fromCharCode(b);
  return btoa(raw).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

async function through(bytes, transform) {
  const stream = new Blob([bytes]).stream().pipeThrough(transform);
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function start() {
  const program = await through(fromBase64($("program").textContent), new DecompressionStream("gzip"));
  $("program").remove();
  const go = new Go();
  const { instance } = await WebAssembly.instantiate(program, go.importObject);
  go.run(instance);
  await loaded;
  status("Ready.");
  await fromFragment();
}

// what the fields ask for
function changes() {
  const form = document.querySelector("form.ask");
  if (!form) return [];
  const f = form.elements, out = [];
  if (f.adjn.value !== "" && f.adjn.value !== f.adj.dataset.was) out.push("victim.oom_score_adj=" + f.adjn.value);
  for (const [field, key] of [["limitn", "limit"], ["swap", "swap"], ["without", "without"], ["group", "memory.oom.group"], ["panic", "panic_on_oom"]]) {
    const value = f[field].value.trim();
    if (value !== "") out.push(key + "=" + value);
  }
  return out.concat(f.more.value.split(/[\s,]+/).filter((s) => s !== ""));
}

function answer() {
  const form = document.querySelector("form.ask");
  const out = form.querySelector("output");
  const got = oomlab.whatIf(current, changes());
  out.classList.toggle("bad", Boolean(got.error));
  if (got.error) out.textContent = got.error;
  else out.innerHTML = got.html;
}

function asking() {
  const form = document.querySelector("form.ask");
  if (!form) return;
  const f = form.elements;
  form.addEventListener("input", (event) => {
    if (event.target === f.adj) f.adjn.value = f.adj.value;
    if (event.target === f.adjn && f.adjn.value !== "") f.adj.value = f.adjn.value;
    if (f.limit && event.target === f.limit) {
      // from a quarter to four times, the same way at each step
      const bytes = f.limit.dataset.bytes * 4 ** ((f.limit.value - 500) / 500);
      f.limitn.value = Number(f.limit.value) === 500 ? "" : Math.max(1, Math.round(bytes / 1048576)) + "Mi";
    }
    answer();
  });
  form.addEventListener("submit", (event) => { event.preventDefault(); answer(); });
  form.addEventListener("reset", () => setTimeout(answer));
}

function show(n, focus) {
  current = n;
  $("report").innerHTML = oomlab.show(n);
  for (const b of $("reports").querySelectorAll("button")) b.setAttribute("aria-current", String(b.value === String(n)));
  $("copied").textContent = "";
  $("copybox").hidden = true;
  asking();
  if (focus) $("report").querySelector("h2").focus();
}

async function read(stream, keep) {
  const id = ++shown;
  text = keep ?? "";
  $("result").hidden = true;
  status("Reading…");
  let last = 0;
  const got = await oomlab.read(stream.getReader(), (bytes, reports) => {
    if (id === shown && bytes - last > 1 << 22) { last = bytes; status(`Reading… ${bytes >> 20} MiB, ${reports} reports`); }
  });
  if (id !== shown) return false;
  if (got.error) { status([got.error, got.hint].filter(Boolean).join(" "), true); return false; }
  if (got.reports === 0) { status("There is no OOM report in this log. The line that begins one says: invoked oom-killer.", true); return false; }
  status(got.reports === 1 ? "One report." : `${got.reports} reports.` + (got.kept < got.reports ? ` The first ${got.kept} can be shown; the summary is of all.` : ""));
  $("reports").innerHTML = got.reports > 1 ? got.list : "";
  $("summary").innerHTML = got.reports > 1 ? got.summary : "";
  $("result").hidden = false;
  show(1, false);
  return true;
}

function readText(s) {
  return read(new Blob([s]).stream(), s.length <= mostKept ? s : "");
}

async function readFile(file) {
  $("log").value = "";
  // a small log may become a link, whatever it is packed in
  if (file.size > mostKept) return read(file.stream());
  const bytes = new Uint8Array(await file.arrayBuffer());
  return read(new Blob([bytes]).stream(), bytes);
}

async function copy(what, said) {
  try {
    await navigator.clipboard.writeText(what);
    $("copybox").hidden = true;
  } catch {
    $("copybox").hidden = false;
    $("copytext").value = what;
    $("copytext").focus();
    $("copytext").select();
    said = "Copy it from the field below.";
  }
  $("copied").textContent = said;
}

// #log= is the log, gzip in base64url; n= which report; if= changes
async function link() {
  if (text.length === 0) { $("copied").textContent = "This log is too large for a link: paste one report of it."; return; }
  const packed = toBase64URL(await through(text, new CompressionStream("gzip")));
  const url = location.href.split("#")[0] + "#log=" + packed + (current > 1 ? "&n=" + current : "") +
    changes().map((c) => "&if=" + encodeURIComponent(c)).join("");
  if (url.length > mostLink) { $("copied").textContent = "This log is too large for a link: paste one report of it."; return; }
  history.replaceState(null, "", url);
  await copy(url, `Copied a link of ${url.length} characters, which has the log in it.`);
}

async function fromFragment() {
  const values = new URLSearchParams(location.hash.slice(1));
  const packed = values.get("log");
  if (!packed) return;
  let bytes;
  try {
    bytes = fromBase64(packed.replaceAll("-", "+").replaceAll("_", "/"));
  } catch {
    status("The link is damaged: its log is no base64.", true);
    return;
  }
  if (!await read(new Blob([bytes]).stream(), bytes)) return;
  const n = Number(values.get("n") ?? 1);
  if (n > 1) show(n, false);
  const asked = values.getAll("if");
  const form = document.querySelector("form.ask");
  if (asked.length > 0 && form) { form.elements.more.value = asked.join(" "); answer(); }
}

$("input").addEventListener("submit", (event) => { event.preventDefault(); readText($("log").value); });
$("log").addEventListener("paste", () => setTimeout(() => readText($("log").value)));
$("log").addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) readText($("log").value); });
$("file").addEventListener("change", () => { if ($("file").files.length) readFile($("file").files[0]); });
$("clear").addEventListener("click", () => {
  shown++; text = ""; $("log").value = ""; $("file").value = ""; $("result").hidden = true; status("Ready."); $("log").focus();
  history.replaceState(null, "", location.href.split("#")[0]);
});
$("markdown").addEventListener("click", () => copy(oomlab.markdown(current, changes()), "Copied."));
$("link").addEventListener("click", link);
$("reports").addEventListener("click", (event) => { const b = event.target.closest("button"); if (b) show(Number(b.value), true); });
addEventListener("hashchange", fromFragment);
addEventListener("dragover", (event) => { event.preventDefault(); $("drop").hidden = false; });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").hidden = true; });
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").hidden = true;
  const data = event.dataTransfer;
  if (data.files.length) readFile(data.files[0]);
  else if (data.getData("text/plain")) { $("log").value = data.getData("text/plain"); readText($("log").value); }
});
for (const b of document.querySelectorAll("#input button, #file")) b.disabled = true;
start().then(() => { for (const b of document.querySelectorAll("#input button, #file")) b.disabled = false; },
  (error) => status("This browser cannot run the page: " + error, true));
})();
