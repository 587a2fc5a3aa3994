// The traces list: keys, selection, the query field's suggestions, the range drawn on the histogram.
// Events are delegated from `document`, so that swaps need no re-binding.

import { keysOn, typing } from "./shell.js";

const $ = (selector, scope = document) => scope.querySelector(selector);
const $$ = (selector, scope = document) => [...scope.querySelectorAll(selector)];
const number = (n) => n.toLocaleString("en-US");
const many = (n) => `${number(n)} trace${n === 1 ? "" : "s"}`;

// Selection ---------------------------------------------------------------------------------------------------

let everything = false; // all that match, not only this page
let lastPicked = -1;

const rows = () => $$("#trace-rows > tr");
const boxes = () => $$("#trace-rows input[name=trace]");
const picked = () => boxes().filter((box) => box.checked);

function showSelection() {
  const bar = $("#bulk-bar");
  if (!bar) return;
  const count = picked().length;
  if (!count) everything = false;
  bar.classList.toggle("tbar--bulk", count > 0);
  $("[data-rest]", bar).hidden = count > 0;
  for (const part of $$("[data-bulk]", bar)) part.hidden = !count;
  const total = Number(bar.dataset.total) || 0;
  const said = everything ? (total ? `All ${number(total)} selected` : "All that match selected") : `${number(count)} selected`;
  $("[data-count]", bar).textContent = said;
  const compare = $("[data-compare]", bar);
  if (compare) {
    compare.hidden = count !== 2 || everything;
    const [a, b] = picked().map((box) => encodeURIComponent(box.value));
    if (!compare.hidden) compare.href = `${compare.dataset.compare}?a=${a}&b=${b}`;
  }
  for (const act of $$("[data-act]", bar)) { // a form over those chosen, else over all that match
    const some = count > 0 && !everything;
    $("[data-act-what]", act).textContent = some ? `${act.dataset.act} ${many(count)}` : `${act.dataset.act} all that match`;
    $("input[name=all]", act).disabled = some;
    $("[data-act-chosen]", act).replaceChildren(
      ...(some ? picked() : []).map((box) => Object.assign(document.createElement("input"), { type: "hidden", name: "trace", value: box.value })),
    );
  }
  const all = $("[data-all]", bar);
  all.hidden = !count || everything || (total > 0 && total <= count);
  for (const row of rows()) row.setAttribute("aria-selected", String($("input[name=trace]", row).checked));
  const head = $("[data-check-all]");
  head.checked = count > 0 && count === boxes().length;
  head.toggleAttribute("data-some", count > 0 && !head.checked);
}

function pick(index, on, through) {
  const list = boxes();
  const from = through && lastPicked >= 0 ? Math.min(lastPicked, index) : index;
  const to = through && lastPicked >= 0 ? Math.max(lastPicked, index) : index;
  for (let i = from; i <= to; i += 1) if (list[i]) list[i].checked = on;
  lastPicked = index;
  everything = false;
  showSelection();
}

function clearSelection() {
  for (const box of boxes()) box.checked = false;
  everything = false;
  showSelection();
}

function openDatasetDialog() {
  const dialog = $("#dataset-dialog");
  const count = picked().length;
  if (!dialog || !count) return;
  const bar = $("#bulk-bar");
  const total = everything ? Number(bar.dataset.total) || 0 : count;
  const chosen = $("[data-chosen]", dialog);
  chosen.replaceChildren();
  const add = (name, value) => {
    const input = document.createElement("input");
    Object.assign(input, { type: "hidden", name, value });
    chosen.append(input);
  };
  if (everything) { add("all", "1"); add("q", bar.dataset.matching); }
  else for (const box of picked()) add("trace", box.value);
  $("[data-count]", dialog).textContent = total ? many(total) : "All traces that match";
  $("[data-submit]", dialog).textContent = total ? `Add ${many(total)}` : "Add all traces that match";
  const picker = $("#dataset-picker", dialog);
  window.htmx.ajax("GET", picker.dataset.url, { target: picker, swap: "innerHTML", values: { trace: picked()[0].value } });
  dialog.showModal();
}

document.addEventListener("click", (event) => {
  const box = event.target.closest("#trace-rows input[name=trace]");
  if (box) { pick(boxes().indexOf(box), box.checked, event.shiftKey); return; }
  if (event.target.closest("[data-check-all]")) {
    for (const one of boxes()) one.checked = event.target.checked;
    everything = false;
    showSelection();
  }
  if (event.target.closest("[data-clear]")) clearSelection();
  if (event.target.closest("[data-all]")) {
    for (const one of boxes()) one.checked = true;
    everything = true;
    showSelection();
  }
  if (event.target.closest("[data-add-to-dataset]")) openDatasetDialog();
  if (event.target.closest("[data-dialog-close]")) event.target.closest("dialog").close();
  for (const open of $$("details[data-close-outside][open]")) if (!open.contains(event.target)) open.open = false;
  if (event.target instanceof HTMLDialogElement && event.target.hasAttribute("data-close-outside")) event.target.close();
  const facets = event.target.closest("[data-facets-toggle]");
  if (facets) {
    const shown = $("#facets")?.toggleAttribute("data-open");
    facets.setAttribute("aria-expanded", String(Boolean(shown)));
    if (shown) $("#facets a")?.focus();
  }
});

// Keys --------------------------------------------------------------------------------------------------------

function cursor() { return rows().findIndex((row) => row.classList.contains("is-cursor")); }

function moveCursor(by) {
  const list = rows();
  if (!list.length) return;
  const at = cursor();
  const to = Math.max(0, Math.min(list.length - 1, at < 0 ? (by > 0 ? 0 : list.length - 1) : at + by));
  list[at]?.classList.remove("is-cursor");
  list[to].classList.add("is-cursor");
  $("a.cell2", list[to]).focus({ preventScroll: true });
  list[to].scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    const open = $("details[data-close-outside][open]");
    if (open) { open.open = false; $("summary", open).focus(); return; }
    if (!typing(event) && !$("dialog[open]")) clearSelection();
    return;
  }
  const inList = event.target.closest?.("#trace-rows");
  if ((typing(event) && !(inList && event.target.type === "checkbox" && !event.ctrlKey && !event.metaKey)) || !keysOn() || $("dialog[open]")) return;
  const key = event.key.toLowerCase();
  if (key === "j" || key === "k") { moveCursor(key === "j" ? 1 : -1); event.preventDefault(); }
  if (key === "x" && cursor() >= 0) pick(cursor(), !boxes()[cursor()].checked, event.shiftKey);
  if (key === "enter" && cursor() >= 0 && !event.target.closest("a, button")) $("a.cell2", rows()[cursor()]).click();
  if (key === "n") $("#results a[rel=next]")?.click();
  if (key === "f") { event.preventDefault(); const toggle = $("[data-facets-toggle]"); if (toggle?.offsetParent) toggle.click(); else $("#facets a")?.focus(); }
  if (key === "d" && picked().length && Date.now() - lastG > 1200) openDatasetDialog();
  if (key === "g") lastG = Date.now();
});
let lastG = 0;

document.addEventListener("focusin", (event) => {
  const row = event.target.closest?.("#trace-rows > tr");
  if (!row) return;
  for (const other of rows()) other.classList.toggle("is-cursor", other === row);
});

document.addEventListener("htmx:afterSwap", (event) => {
  if (event.target.id === "results") { lastPicked = -1; everything = false; rows()[0] && moveCursor(1); }
  if (event.target.id === "browser") { lastPicked = -1; everything = false; }
});

// Suggestions -------------------------------------------------------------------------------------------------

const options = () => $$("#completions > [role=option]");
const chosenOption = () => options().findIndex((option) => option.getAttribute("aria-selected") === "true");

function showOptions(open) {
  const list = $("#completions");
  const field = $("#query-field");
  if (!list || !field) return;
  list.hidden = !open || !options().length;
  field.setAttribute("aria-expanded", String(!list.hidden));
  if (list.hidden) field.removeAttribute("aria-activedescendant");
}

function markOption(index) {
  options().forEach((option, place) => option.setAttribute("aria-selected", String(place === index)));
  const field = $("#query-field");
  if (options()[index]) { field.setAttribute("aria-activedescendant", options()[index].id); options()[index].scrollIntoView({ block: "nearest" }); }
  else field.removeAttribute("aria-activedescendant");
}

function takeOption(index) {
  const option = options()[index];
  if (!option) return;
  const field = $("#query-field");
  field.value = option.dataset.text;
  field.focus();
  field.setSelectionRange(field.value.length, field.value.length);
  showOptions(false);
  if (field.value.endsWith(" ")) field.form.requestSubmit();
  else field.dispatchEvent(new Event("input", { bubbles: true }));
}

document.addEventListener("keydown", (event) => {
  if (event.target.id !== "query-field") return;
  const open = !$("#completions").hidden;
  const count = options().length;
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    if (!count) return;
    event.preventDefault();
    showOptions(true);
    const at = chosenOption();
    markOption(event.key === "ArrowDown" ? (at + 1) % count : (at <= 0 ? count : at) - 1);
  }
  if (event.key === "Enter" && open && chosenOption() >= 0) { event.preventDefault(); takeOption(chosenOption()); }
  if (event.key === "Tab" && open && !event.shiftKey && chosenOption() >= 0) { event.preventDefault(); takeOption(chosenOption()); }
  if (event.key === "Escape") { if (open) { showOptions(false); event.stopPropagation(); } else event.target.blur(); }
  if (event.key === "Backspace" && event.target.value === "") {
    const last = $$("#query-bar .q").pop();
    if (!last) return;
    event.preventDefault();
    const query = $("#query-bar [data-query]");
    const own = last.dataset.term;
    query.value = query.value.slice(0, Math.max(0, query.value.length - own.length)).trimEnd();
    event.target.value = own;
    last.remove();
  }
}, true);
document.addEventListener("mousedown", (event) => {
  const option = event.target.closest("#completions > [role=option]");
  if (option) { event.preventDefault(); takeOption(options().indexOf(option)); }
});
document.addEventListener("htmx:afterSettle", () => {
  const field = $("#query-field");
  if (field && document.activeElement === field) field.setAttribute("aria-expanded", String(!$("#completions").hidden));
  else showOptions(false);
});
document.addEventListener("focusout", (event) => { if (event.target.id === "query-field") showOptions(false); });

// The range drawn on the histogram ----------------------------------------------------------------------------

let drawing = null;

function place(event, svg) {
  const box = svg.getBoundingClientRect();
  const share = Math.max(0, Math.min(0.999999, (event.clientX - box.left) / box.width));
  const count = Math.round((svg.dataset.high - svg.dataset.low) / svg.dataset.step);
  return { slot: Math.floor(share * count), count };
}

function drawRange(svg, from, to, count) {
  const bar = $("[data-brush]", svg);
  const first = Math.min(from, to);
  const last = Math.max(from, to) + 1;
  bar.setAttribute("x", String(840 * first / count));
  bar.setAttribute("width", String(840 * (last - first) / count));
  const low = Number(svg.dataset.low);
  const step = Number(svg.dataset.step);
  return [low + first * step, low + last * step];
}

document.addEventListener("pointerdown", (event) => {
  const svg = event.target.closest?.("[data-hist]");
  if (!svg || event.button !== 0) return;
  event.preventDefault();
  const { slot } = place(event, svg);
  drawing = { svg, from: slot };
  svg.setPointerCapture(event.pointerId);
});
function rangeText([low, high]) {
  const format = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  return `${format.format(low)} to ${format.format(high)}`;
}

function hintRange(text) {
  const hint = $("[data-brush-hint]");
  if (hint) { hint.dataset.idle ??= hint.textContent; hint.textContent = text || hint.dataset.idle; }
}

function showRange(svg, [low, high]) {
  const address = new URL(svg.dataset.url, location.href);
  address.searchParams.set("from", String(Math.round(low)));
  address.searchParams.set("to", String(Math.round(high)));
  window.htmx.ajax("GET", address.pathname + address.search, { source: svg, target: "#browser", swap: "outerHTML show:none" });
}

document.addEventListener("pointermove", (event) => {
  if (!drawing) return;
  const { slot, count } = place(event, drawing.svg);
  hintRange(rangeText(drawRange(drawing.svg, drawing.from, slot, count)));
});
document.addEventListener("pointerup", (event) => {
  if (!drawing) return;
  const { svg, from } = drawing;
  drawing = null;
  const { slot, count } = place(event, svg);
  showRange(svg, drawRange(svg, from, slot, count));
});
document.addEventListener("pointercancel", () => { if (drawing) $("[data-brush]", drawing.svg).setAttribute("width", "0"); drawing = null; });

// The same by keys: the chart is one stop, a slider over its bars. Arrows move, Shift stretches, Enter shows, Escape lets go.

let held = null; // { svg, anchor, slot }

function readyForKeys() {
  const svg = $("[data-hist]");
  if (svg && !svg.hasAttribute("tabindex")) {
    const count = Math.round((svg.dataset.high - svg.dataset.low) / svg.dataset.step);
    const about = svg.getAttribute("aria-label");
    for (const [name, value] of Object.entries({
      tabindex: "0", role: "slider", "aria-valuemin": "0", "aria-valuemax": String(count - 1), "aria-valuenow": "0",
      "aria-valuetext": "No range chosen", "aria-label": `${about} Arrow keys choose a bar, Shift and an arrow more of them, Enter shows their runs.`,
    })) svg.setAttribute(name, value);
  }
  for (const zone of $$("[data-zone]")) zone.textContent = "your time";
}

function holdRange(svg, anchor, slot, count) {
  held = { svg, anchor, slot };
  const text = rangeText(drawRange(svg, anchor, slot, count));
  const [first, last] = [Math.min(anchor, slot), Math.max(anchor, slot)];
  const runs = $$("[data-place]", svg).filter((bar) => bar.dataset.place >= first && bar.dataset.place <= last)
    .reduce((sum, bar) => sum + Number(bar.dataset.runs), 0);
  svg.setAttribute("aria-valuenow", String(slot));
  svg.setAttribute("aria-valuetext", `${text}: ${number(runs)} run${runs === 1 ? "" : "s"}`);
  hintRange(`${text}: ${number(runs)} run${runs === 1 ? "" : "s"}`);
}

document.addEventListener("keydown", (event) => {
  const svg = event.target.closest?.("[data-hist]");
  if (!svg || event.ctrlKey || event.metaKey || event.altKey) return;
  const count = Number(svg.getAttribute("aria-valuemax")) + 1;
  const at = held?.svg === svg ? held : null;
  const first = at ? at.slot : -1;
  const to = { ArrowRight: first + 1, ArrowUp: first + 1, ArrowLeft: at ? first - 1 : count - 1, ArrowDown: at ? first - 1 : count - 1, Home: 0, End: count - 1 }[event.key];
  if (to !== undefined) {
    const slot = Math.max(0, Math.min(count - 1, to));
    holdRange(svg, event.shiftKey && at ? at.anchor : slot, slot, count);
  } else if (event.key === "Enter" && at) showRange(svg, drawRange(svg, at.anchor, at.slot, count));
  else if (event.key === "Escape" && at) {
    held = null;
    $("[data-brush]", svg).setAttribute("width", "0");
    svg.setAttribute("aria-valuetext", "No range chosen");
    hintRange("");
  } else return;
  event.preventDefault();
  event.stopPropagation();
}, true);

// A time typed into "From" and "To" is the reader's own; the server gets the moment.
document.addEventListener("formdata", (event) => {
  if (event.target.id !== "query-bar") return;
  for (const name of ["from", "to"]) {
    const moment = new Date(event.formData.get(name) || "");
    if (!Number.isNaN(moment.getTime())) event.formData.set(name, String(moment.getTime()));
  }
});

document.addEventListener("htmx:afterSwap", readyForKeys);

// What was chosen in a box of the query bar closes the box; the focus goes to its button, not to the top of the page.
let boxInUse = -1;
let chartInUse = false;
const inBar = (part) => $$(`#query-bar > details${part}`);
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target.id !== "browser") return;
  chartInUse = document.activeElement?.id === "hist";
  boxInUse = inBar("").findIndex((box) => box.contains(document.activeElement));
});
document.addEventListener("htmx:afterSettle", () => {
  if (boxInUse >= 0 && document.activeElement === document.body) inBar(" > summary")[boxInUse]?.focus();
  if (chartInUse) $("#hist")?.focus({ preventScroll: true });
  boxInUse = -1;
  chartInUse = false;
});
document.addEventListener("htmx:historyRestore", readyForKeys);
readyForKeys();
