// Tree and timeline of a trace: one component over the columns of `spans.json`. The server has drawn the first rows; this
// takes over with all of them: folding, finding, zoom, keys, and the span panel beside it.

import { keysOn, typing } from "./shell.js";
import { VirtualList } from "./virtual_list.js";

const ROW = 30; // px, as `.wf__row`
const HEAD = 34; // px of the sticky head above the rows
const MAX_INDENT = 12; // as in the server's rows
const LAST_TICK = 91; // percent: a label further right would run into the column beside it
const NONE = "–";

const section = document.querySelector("[data-span-tree]");
const panel = document.getElementById("span-panel");
if (section) start(section);

async function start(section) {
  let cols;
  try {
    const answer = await fetch(section.dataset.rowsUrl, { credentials: "same-origin" });
    if (!answer.ok) throw new Error(String(answer.status));
    cols = await answer.json();
  } catch {
    return; // the rows that the server drew stay, with its paging
  }
  if (cols.id.length) new SpanTree(section, cols);
}

// Numbers as the server writes them: see pages/templatetags/pages.py.
export function duration(ms) {
  if (ms === null || ms === undefined) return NONE;
  if (ms < 0.5) return ms === 0 ? "0 ms" : `${ms.toFixed(2)} ms`;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  const seconds = ms / 1000;
  if (seconds < 100) return `${seconds.toFixed(2)} s`;
  let minutes = Math.floor(Math.round(seconds) / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds) % 60} s`;
  const hours = Math.floor(minutes / 60);
  minutes %= 60;
  return `${hours} h ${minutes} min`;
}
const whole = new Intl.NumberFormat("en-US");
const count = (number) => (number === null ? NONE : whole.format(number));
const money = (usd) => (usd === null ? NONE : `$${usd.toFixed(4)}`);
const share = (part, total) => (!total ? NONE : part > 0 && part < total * 0.005 ? "<1%" : `${Math.round((part / total) * 100)}%`);
const seconds = (value) => `${Number(value.toFixed(value < 10 ? 2 : 1))}`;

class SpanTree {
  constructor(section, cols) {
    this.section = section;
    this.cols = cols;
    this.total = cols.total;
    this.n = cols.id.length;
    this.view = section.dataset.view;
    this.tools = document.getElementById("tree-tools");
    this.tree = section.querySelector("[data-rows]");
    this.template = section.querySelector("[data-row-template]").content.firstElementChild;
    this.indexOf = new Map(cols.id.map((id, row) => [id, row]));
    this.measure = this.view === "timeline" ? "share" : "length";
    this.layOut();
    this.folded = new Uint8Array(this.n);
    this.shown = new Int32Array(0);
    this.place = new Int32Array(this.n).fill(-1); // row -> place among those shown
    this.matches = null;
    this.icons = cols.kinds.map(([, css, icon, label]) => ({ css, icon: `#i-${icon}`, label }));
    this.missing = cols.kinds.findIndex(([kind]) => kind === "missing");
    this.agent = cols.kinds.findIndex(([kind]) => kind === "agent");

    const address = new URLSearchParams(location.search);
    this.only = address.get("only") || "";
    this.find = address.get("find") || "";
    this.selected = this.indexOf.get(address.get("span") || section.dataset.chosen) ?? -1;
    if (this.selected >= 0 && cols.kind[this.selected] === this.missing) this.selected = -1;
    this.cursor = this.selected;
    this.isChosen = address.has("span"); // else it is the one shown before any is chosen
    this.from = 0;
    this.to = this.total;
    const from = parseFloat(address.get("from"));
    const to = parseFloat(address.get("to"));
    if (this.total) {
      const low = Math.max(0, Number.isFinite(from) ? from : 0);
      const high = Math.min(this.total, Number.isFinite(to) ? to : this.total);
      if (high > low) [this.from, this.to] = [low, high];
    }

    this.tree.replaceChildren();
    this.list = new VirtualList({
      canvas: this.tree,
      scroller: section,
      rowHeight: ROW,
      make: () => this.makeRow(),
      draw: (element, place) => this.drawRow(element, this.shown[place]),
      moved: (first, last) => this.tell(first, last),
    });
    this.brush = this.view === "timeline" ? new Brush(this) : null;
    for (const link of section.querySelectorAll("[data-page]")) link.remove();
    for (const control of document.querySelectorAll("[data-fold], [data-measure], [data-fold-all]")) control.hidden = false;
    this.listen();
    this.findInside();
    this.applyFilter(true);
    this.drawWindow();
    if (this.selected >= 0) {
      this.open(this.selected);
      if (this.place[this.selected] >= 0) this.list.reveal(this.place[this.selected], { middle: true, head: HEAD });
    }
    section.dataset.ready = "true";
  }

  // Parents, sizes and places among siblings follow from the depths.
  layOut() {
    const { depth } = this.cols;
    const n = this.n;
    this.parent = new Int32Array(n).fill(-1);
    this.size = new Int32Array(n);
    this.spot = new Int32Array(n);
    this.siblings = new Int32Array(n);
    const children = new Int32Array(n + 1);
    const path = [];
    for (let row = 0; row < n; row++) {
      path.length = depth[row];
      const parent = depth[row] ? path[depth[row] - 1] : -1;
      this.parent[row] = parent;
      this.spot[row] = ++children[parent + 1];
      path.push(row);
    }
    for (let row = n - 1; row >= 0; row--) {
      this.siblings[row] = children[this.parent[row] + 1];
      if (this.parent[row] >= 0) this.size[this.parent[row]] += this.size[row] + 1;
    }
  }

  // What is shown ------------------------------------------------------------------------------------------------

  matchesFilter() {
    const { cols } = this;
    const words = this.find.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    if (!this.only && !words.length) return null;
    const kind = cols.kinds.findIndex(([name]) => name === this.only);
    const keep = new Uint8Array(this.n); // 1 a parent of one that matches, 2 matches
    this.hits = 0;
    for (let row = 0; row < this.n; row++) {
      if (this.only === "errors" ? !cols.error[row] : this.only === "slowest" ? !cols.slow[row] : this.only && cols.kind[row] !== kind) continue;
      if (words.length) {
        const text = `${cols.name[row]}\n${cols.detail[row]}\n${cols.tool[row]}\n${cols.id[row]}`.toLocaleLowerCase();
        if (!words.every((word) => text.includes(word))) continue;
      }
      this.hits++;
      for (let at = row; at >= 0 && keep[at] < 1; at = this.parent[at]) keep[at] = 1;
      keep[row] = 2;
    }
    return keep;
  }

  applyFilter(first = false) {
    this.matches = this.matchesFilter();
    const hits = this.tools.querySelector("[data-hits]");
    hits.textContent = this.matches ? `${count(this.hits)} of ${count(this.n)} spans match` : "";
    if (this.matches) this.folded.fill(0);
    this.refresh();
    if (!first) {
      this.writeAddress();
      if (this.cursor >= 0 && this.place[this.cursor] >= 0) this.list.reveal(this.place[this.cursor], { head: HEAD });
      else this.section.scrollTop = 0;
    }
  }

  // Work out which rows are shown, and draw.
  refresh() {
    const shown = [];
    this.place.fill(-1);
    for (let row = 0; row < this.n; ) {
      if ((this.matches && !this.matches[row]) || (this.inside && !this.inside[row])) {
        row += this.size[row] + 1; // nothing under it is to be shown either
        continue;
      }
      this.place[row] = shown.length;
      shown.push(row);
      row += this.folded[row] ? this.size[row] + 1 : 1;
    }
    this.shown = Int32Array.from(shown);
    if (this.cursor < 0 || this.place[this.cursor] < 0) this.cursor = this.shownParent(this.cursor);
    this.tree.toggleAttribute("data-none", !shown.length);
    if (!shown.length) this.tree.dataset.none = "No span matches. Look for another word, or show all spans.";
    this.list.reset(shown.length);
  }

  shownParent(row) {
    while (row >= 0 && this.place[row] < 0) row = this.parent[row];
    return row >= 0 ? row : this.shown.length ? this.shown[0] : -1;
  }

  makeRow() {
    const row = this.template.cloneNode(true);
    const [name, lane, length] = row.children;
    const [twist, kind, label, mark] = name.children;
    row.parts = {
      name, twist, kind, use: kind.querySelector("use"), title: label.children[0], detail: label.children[1], mark,
      bar: lane.firstElementChild, text: lane.firstElementChild.firstElementChild, length,
    };
    row.parts.title.dir = "auto";
    return row;
  }

  drawRow(element, row) {
    const { cols } = this;
    const { name, twist, kind, use, title, detail, mark, bar, text, length } = element.parts;
    const look = this.icons[cols.kind[row]];
    const isMissing = cols.kind[row] === this.missing;
    element.row = row;
    element.className = `wf__row ${look.css}${this.matches?.[row] === 1 ? " wf__row--context" : ""}`;
    element.setAttribute("aria-level", cols.depth[row] + 1);
    element.setAttribute("aria-setsize", this.siblings[row]);
    element.setAttribute("aria-posinset", this.spot[row]);
    element.setAttribute("aria-selected", row === this.selected);
    element.tabIndex = row === this.cursor ? 0 : -1;
    if (this.size[row]) element.setAttribute("aria-expanded", !this.folded[row]);
    else element.removeAttribute("aria-expanded");
    if (isMissing) element.removeAttribute("href");
    else element.href = `?span=${encodeURIComponent(cols.id[row])}`;
    name.style.setProperty("--d", Math.min(cols.depth[row], MAX_INDENT));
    twist.className = this.size[row] ? (this.folded[row] ? "tw" : "tw tw--open") : "tw";
    twist.firstElementChild.toggleAttribute("hidden", !this.size[row]);
    kind.title = look.label;
    use.setAttribute("href", look.icon);
    title.textContent = cols.name[row];
    detail.textContent = this.folded[row] ? `${count(this.size[row])} under it` : cols.detail[row] || (cols.depth[row] > MAX_INDENT ? `level ${cols.depth[row] + 1}` : "");
    mark.hidden = !cols.error[row];
    element.title = this.sum(row);
    length.textContent = this.value(row);
    this.drawBar(bar, text, row);
  }

  drawBar(bar, text, row) {
    const { start, length, error, kind } = this.cols;
    const at = start[row];
    const span = this.to - this.from;
    const end = at === null ? 0 : length[row] === null ? this.total : at + length[row];
    bar.hidden = at === null || span <= 0 || end < this.from || at > this.to;
    if (bar.hidden) return;
    const left = ((Math.max(at, this.from) - this.from) / span) * 100;
    const right = ((Math.min(end, this.to) - this.from) / span) * 100;
    const slack = Math.max(this.total * 1e-6, 2e-6); // of rounding
    const look = error[row] ? " bar--err" : kind[row] === this.agent && this.size[row] ? " bar--agent" : "";
    bar.className = `bar${look}${at < this.from - slack ? " bar--cutl" : ""}${end > this.to + slack || length[row] === null ? " bar--cutr" : ""}`;
    bar.style.setProperty("--l", Math.min(left, 99.7).toFixed(3));
    bar.style.setProperty("--w", (right - left).toFixed(3));
    if (this.view !== "timeline") return;
    text.hidden = look === " bar--agent";
    text.textContent = length[row] === null ? "not ended" : duration(length[row] * 1000);
    text.className = right > 88 ? (left > 12 ? "in" : "over") : "";
  }

  value(row) {
    const { length, tokens, cost } = this.cols;
    if (this.measure === "tokens") return count(tokens[row]);
    if (this.measure === "cost") return money(cost[row]);
    if (length[row] === null) return NONE;
    return this.measure === "share" ? share(length[row], this.total) : duration(length[row] * 1000);
  }

  // The roll-up of a subtree, on hover.
  sum(row) {
    const { name, length, tokens, cost, kind } = this.cols;
    if (kind[row] === this.missing) return "This span was named as a parent and has not been received. It may still come.";
    const parts = [name[row], length[row] === null ? "no length recorded" : duration(length[row] * 1000)];
    const under = this.size[row] ? `with the ${count(this.size[row])} under it: ` : "";
    if (tokens[row] !== null) parts.push(`${under}${count(tokens[row])} tokens${cost[row] !== null ? `, ${money(cost[row])}` : ""}`);
    return parts.join(" · ");
  }

  tell(first, last) {
    const range = this.section.querySelector("[data-range]");
    const all = this.shown.length;
    let text = all ? `Rows ${count(first + 1)} to ${count(last)} of ${count(all)}` : "No rows";
    if (this.isZoomed) {
      text = `${count(this.inWindow)} of ${count(this.n)} spans in this window`;
    }
    if (range.textContent !== text) range.textContent = text;
  }

  // Choosing -----------------------------------------------------------------------------------------------------

  // Unfold what hides a row.
  open(row) {
    let changed = false;
    if (this.matches && !this.matches[row]) { // a filter or a window that hides it gives way
      this.only = this.find = "";
      this.writeTools();
      this.applyFilter(true);
    }
    if (this.inside && !this.inside[row]) {
      this.setWindow(0, this.total);
      this.findInside();
      changed = true;
    }
    for (let at = this.parent[row]; at >= 0; at = this.parent[at]) {
      if (this.folded[at]) { this.folded[at] = 0; changed = true; }
    }
    if (changed) this.refresh();
  }

  moveTo(row, { focus = true } = {}) {
    if (row < 0) return;
    this.cursor = row;
    this.list.reveal(this.place[row], { head: HEAD });
    for (const element of this.list.rows.values()) element.tabIndex = element.row === row ? 0 : -1;
    if (focus) this.list.rows.get(this.place[row])?.focus({ preventScroll: true });
  }

  select(row, { push = false, focus = true, tab = "" } = {}) {
    if (row < 0) return;
    this.open(row);
    this.moveTo(row, { focus });
    if (this.cols.kind[row] === this.missing) return;
    this.selected = row;
    this.isChosen = true;
    for (const element of this.list.rows.values()) element.setAttribute("aria-selected", element.row === row);
    this.writeAddress({ push, tab });
    clearTimeout(this.asking);
    this.asking = setTimeout(() => this.loadPanel(push), push ? 0 : 90);
    this.showPanel(true);
  }

  showPanel(isOpen) {
    if (this.view !== "timeline") return;
    if (panel.hidden === !isOpen) return;
    panel.hidden = !isOpen;
    document.getElementById("trace-split").classList.toggle("split--solo", !isOpen);
    this.list.paint();
    this.brush?.draw();
  }

  closePanel() {
    this.selected = -1;
    this.writeAddress();
    for (const element of this.list.rows.values()) element.setAttribute("aria-selected", "false");
    this.showPanel(false);
    this.moveTo(this.cursor);
  }

  // isAsked: by a tap or a click; on a phone the panel, which lies below the tree, is then brought into view.
  loadPanel(isAsked = false) {
    const address = new URLSearchParams({ span: this.cols.id[this.selected] });
    const tab = new URLSearchParams(location.search).get("tab");
    if (tab) address.set("tab", tab);
    const slow = setTimeout(() => panel.setAttribute("aria-busy", "true"), 150);
    window.htmx.ajax("GET", `${location.pathname}?${address}`, { source: panel, target: panel, swap: "innerHTML show:none" }).finally(() => {
      clearTimeout(slow);
      panel.removeAttribute("aria-busy");
      if (isAsked && panel.getBoundingClientRect().top > innerHeight * 0.6) panel.scrollIntoView({ block: "start" });
    });
  }

  // The address always holds what is seen.
  writeAddress({ push = false, tab = "" } = {}) {
    const address = new URLSearchParams(location.search);
    const put = (name, value) => (value ? address.set(name, value) : address.delete(name));
    put("span", this.isChosen && this.selected >= 0 ? this.cols.id[this.selected] : "");
    put("only", this.only);
    put("find", this.find);
    put("from", this.isZoomed ? Number(this.from.toFixed(4)) : "");
    put("to", this.isZoomed ? Number(this.to.toFixed(4)) : "");
    address.delete("row");
    if (tab) {
      put("tab", tab === "io" ? "" : tab);
      if (this.selected >= 0) address.set("span", this.cols.id[this.selected]);
    }
    if (this.selected < 0) address.delete("tab");
    const query = address.toString();
    const url = location.pathname + (query ? `?${query}` : "");
    if (url === location.pathname + location.search) return;
    history[push ? "pushState" : "replaceState"](null, "", url);
    for (const link of document.querySelectorAll("[data-view-key]")) {
      const span = address.get("span");
      link.search = span ? new URLSearchParams({ span }).toString() : "";
    }
  }

  fold(row, isFolded) {
    if (!this.size[row] || !!this.folded[row] === isFolded) return;
    this.folded[row] = isFolded ? 1 : 0;
    const had = this.tree.contains(document.activeElement);
    this.refresh();
    if (had) this.moveTo(row);
  }

  foldTo(level) {
    for (let row = 0; row < this.n; row++) this.folded[row] = this.size[row] && this.cols.depth[row] >= level ? 1 : 0;
    this.refresh();
    this.section.scrollTop = 0;
    this.list.paint();
  }

  nextError() {
    for (let step = 1; step <= this.n; step++) {
      const row = (Math.max(this.cursor, this.selected < 0 ? -1 : this.cursor) + step + this.n) % this.n;
      if (!this.cols.error[row]) continue;
      this.select(row, { push: true });
      return;
    }
  }

  writeTools() {
    this.tools.querySelector("[name=find]").value = this.find;
    this.tools.querySelector("[name=only]").value = this.only;
  }

  // Time ---------------------------------------------------------------------------------------------------------

  get isZoomed() {
    return this.total > 0 && (this.from > 0 || this.to < this.total);
  }

  setWindow(from, to) {
    const least = Math.max(this.total / 1e5, 1e-6);
    const length = Math.min(Math.max(to - from, least), this.total);
    this.from = Math.min(Math.max(0, from), this.total - length);
    this.to = this.from + length;
    if (this.total - length < least) [this.from, this.to] = [0, this.total];
    clearTimeout(this.writing);
    if (!this.drawing) {
      this.drawing = requestAnimationFrame(() => {
        this.drawing = 0;
        this.drawWindow();
        this.findInside();
        this.refresh();
      });
    }
    this.writing = setTimeout(() => this.writeAddress(), 200);
  }

  // Which rows the window shows: spans that touch it, and what they stand under.
  findInside() {
    this.inside = null;
    if (!this.isZoomed) return;
    const { start, length } = this.cols;
    this.inside = new Uint8Array(this.n);
    this.inWindow = 0;
    for (let row = 0; row < this.n; row++) {
      if (start[row] === null || start[row] > this.to || (length[row] !== null && start[row] + length[row] < this.from)) continue;
      this.inWindow++;
      for (let at = row; at >= 0 && !this.inside[at]; at = this.parent[at]) this.inside[at] = 1;
    }
  }

  zoom(factor, middle = (this.from + this.to) / 2) {
    const share = (middle - this.from) / (this.to - this.from);
    const length = (this.to - this.from) * factor;
    this.setWindow(middle - length * share, middle + length * (1 - share));
  }

  drawWindow() {
    const length = this.to - this.from;
    const places = [];
    if (length > 0) {
      const step = tickStep(length / 5);
      for (let k = Math.ceil(this.from / step - 1e-9); k <= Math.floor(this.to / step + 1e-9); k++) places.push([k * step, step]);
    }
    const left = (at) => ((at - this.from) / length) * 100;
    const head = this.section.querySelector("[data-ticks]");
    head.replaceChildren(...places.map(([at, step]) => {
      const tick = document.createElement("span");
      tick.style.setProperty("--l", left(at).toFixed(2));
      tick.textContent = left(at) <= LAST_TICK ? tickLabel(at, step) : "";
      return tick;
    }));
    this.section.style.setProperty("--g", places.length > 1 ? ((places[0][1] / length) * 100).toFixed(3) : 100);
    this.section.style.setProperty("--go", places.length ? left(places[0][0]).toFixed(3) : 0);
    const said = document.querySelector("[data-window]");
    if (said) said.textContent = `${seconds(this.from)} s to ${seconds(this.to)} s`;
    const reset = document.querySelector("[data-zoom=reset]");
    if (reset) reset.hidden = !this.isZoomed;
    this.brush?.place();
  }

  // Events -------------------------------------------------------------------------------------------------------

  listen() {
    this.tree.addEventListener("click", (event) => {
      const element = event.target.closest(".wf__row");
      if (!element || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      if (event.target.closest(".tw") && this.size[element.row]) {
        this.cursor = element.row;
        this.fold(element.row, !this.folded[element.row]);
      } else this.select(element.row, { push: true });
    });
    const form = this.tools.querySelector("[data-tree-form]");
    form.addEventListener("submit", (event) => { event.preventDefault(); this.readTools(); });
    form.addEventListener("input", (event) => {
      clearTimeout(this.finding);
      if (event.target.matches("[data-fold]")) {
        if (event.target.value === "") { this.folded.fill(0); this.refresh(); } else this.foldTo(Number(event.target.value));
      } else if (event.target.matches("[data-measure]")) {
        this.measure = event.target.value;
        this.section.querySelector("[data-measure-name]").textContent = event.target.selectedOptions[0].textContent;
        this.list.redraw();
      } else this.finding = setTimeout(() => this.readTools(), event.target.name === "only" ? 0 : 120);
    });
    document.addEventListener("click", (event) => {
      if (event.target.closest("[data-fold-all]")) {
        const isOpen = this.folded.every((value) => !value);
        if (isOpen) this.foldTo(1); else { this.folded.fill(0); this.refresh(); }
        event.target.closest("[data-fold-all]").textContent = isOpen ? "Open all" : "Collapse all";
      }
      if (event.target.closest("[data-zoom=reset]")) { event.preventDefault(); this.setWindow(0, this.total); }
      if (event.target.closest("[data-panel-close]")) this.closePanel();
      const link = event.target.closest("[data-span]");
      if (link && !event.ctrlKey && !event.metaKey && this.indexOf.has(link.dataset.span)) {
        event.preventDefault();
        this.select(this.indexOf.get(link.dataset.span), { push: true });
      }
      const tab = event.target.closest("[data-tab]");
      if (tab && !event.ctrlKey && !event.metaKey) { event.preventDefault(); this.pickTab(tab); }
    });
    document.addEventListener("keydown", (event) => this.key(event));
    addEventListener("popstate", () => {
      const address = new URLSearchParams(location.search);
      const row = this.indexOf.get(address.get("span")) ?? -1;
      this.only = address.get("only") || "";
      this.find = address.get("find") || "";
      this.writeTools();
      this.applyFilter(true);
      if (row < 0) return this.selected >= 0 ? location.reload() : undefined;
      this.selected = row;
      this.open(row);
      this.moveTo(row, { focus: false });
      this.list.redraw();
      this.loadPanel();
    });
    document.addEventListener("htmx:afterSettle", (event) => {
      if (event.detail.target !== panel && event.detail.elt !== panel) return;
      panel.scrollTop = 0;
      this.showClose();
      if (this.tabFocus) panel.querySelector(`[data-tab="${this.tabFocus}"]`)?.focus();
      this.tabFocus = "";
    });
    this.showClose();
  }

  showClose() {
    const close = panel.querySelector("[data-panel-close]");
    if (close) close.hidden = this.view !== "timeline";
  }

  readTools() {
    clearTimeout(this.finding);
    this.find = this.tools.querySelector("[name=find]").value.trim();
    this.only = this.tools.querySelector("[name=only]").value;
    this.applyFilter();
  }

  pickTab(tab) {
    this.tabFocus = tab.dataset.tab;
    this.writeAddress({ push: true, tab: tab.dataset.tab });
    this.loadPanel();
  }

  key(event) {
    const tab = event.target.closest?.("[role=tab]");
    if (tab && panel.contains(tab) && (event.key === "ArrowRight" || event.key === "ArrowLeft")) {
      const tabs = [...tab.parentElement.querySelectorAll("[role=tab]")];
      const next = tabs[(tabs.indexOf(tab) + (event.key === "ArrowRight" ? 1 : -1) + tabs.length) % tabs.length];
      event.preventDefault();
      return this.pickTab(next);
    }
    if (typing(event) || document.querySelector("dialog[open]")) return;
    const inTree = this.tree.contains(event.target);
    const free = inTree || event.target === document.body || event.target.id === "main";
    const at = this.place[this.cursor] ?? -1;
    const go = (place) => this.select(this.shown[Math.min(Math.max(place, 0), this.shown.length - 1)] ?? -1);
    if (free && !event.shiftKey) {
      const page = Math.max(1, Math.floor(this.section.clientHeight / ROW) - 3);
      const moves = {
        ArrowDown: () => go(this.selected < 0 && !inTree ? Math.max(at, 0) : at + 1),
        ArrowUp: () => go(at - 1),
        Home: () => go(0),
        End: () => go(this.shown.length - 1),
        PageDown: () => go(at + page),
        PageUp: () => go(at - page),
        ArrowRight: () => (this.size[this.cursor] ? (this.folded[this.cursor] ? this.fold(this.cursor, false) : go(at + 1)) : null),
        ArrowLeft: () => (this.size[this.cursor] && !this.folded[this.cursor] ? this.fold(this.cursor, true) : this.parent[this.cursor] >= 0 && this.select(this.parent[this.cursor])),
        Enter: () => inTree && this.select(this.cursor, { push: true }),
        " ": () => inTree && this.select(this.cursor, { push: true }),
      };
      const move = this.cursor >= 0 && moves[event.key];
      if (move && (inTree || !["Home", "End", "PageDown", "PageUp", "Enter", " "].includes(event.key))) {
        event.preventDefault();
        move();
        return;
      }
    }
    if (event.key === "Escape" && this.view === "timeline" && !panel.hidden) return this.closePanel();
    if (!keysOn()) return;
    const length = this.to - this.from;
    const keys = {
      e: () => this.nextError(),
      E: () => this.nextError(),
      "+": () => this.zoom(0.5),
      "=": () => this.zoom(0.5),
      "-": () => this.zoom(2),
      "−": () => this.zoom(2),
      0: () => this.setWindow(0, this.total),
    };
    if (event.shiftKey && event.key === "ArrowLeft") keys.ArrowLeft = () => this.setWindow(this.from - length / 5, this.to - length / 5);
    if (event.shiftKey && event.key === "ArrowRight") keys.ArrowRight = () => this.setWindow(this.from + length / 5, this.to + length / 5);
    if (keys[event.key] && (this.total > 0 || event.key === "e" || event.key === "E") && !event.target.closest?.("[role=slider]")) {
      event.preventDefault();
      keys[event.key]();
    }
  }
}

// As tick_step and tick_label of traces/tree.py.
const LONG_STEPS = [30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400];

function tickStep(least) {
  if (least > 20) return LONG_STEPS.find((step) => step >= least) ?? Math.ceil(least / 86400) * 86400;
  const size = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((factor) => size * factor).find((step) => step >= least * 0.999999);
}

function tickLabel(at, step) {
  if (at === 0) return "0 s";
  if (step < 0.001) return `${Number((at * 1000).toFixed(3))} ms`;
  if (step < 1 && at < 1) return `${Math.round(at * 1000)} ms`;
  if (step < 30) return `${Number(at.toFixed(3))} s`;
  const two = (number) => String(Math.round(number)).padStart(2, "0");
  return step < 1800 ? `${Math.floor(at / 60)}:${two(at % 60)} min` : `${Math.floor(at / 3600)}:${two((at % 3600) / 60)} h`;
}

// The overview above the timeline: every span as a line, and the window as a frame with two handles.
class Brush {
  constructor(tree) {
    this.tree = tree;
    this.box = document.querySelector("[data-brush]");
    if (!this.box || !tree.total) { this.box = null; return; }
    this.box.hidden = false;
    this.canvas = this.box.querySelector("canvas");
    this.frame = this.box.querySelector(".brush__win");
    this.edges = [...this.frame.querySelectorAll("[data-edge]")];
    new ResizeObserver(() => this.draw()).observe(this.box);
    document.addEventListener("themechange", () => this.draw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    this.box.addEventListener("pointerdown", (event) => this.grab(event));
    this.box.addEventListener("keydown", (event) => this.nudge(event));
    this.place();
  }

  draw() {
    if (!this.box) return;
    const { width, height } = this.box.getBoundingClientRect();
    const scale = devicePixelRatio || 1;
    this.canvas.width = width * scale;
    this.canvas.height = height * scale;
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    const { start, length, kind, error, depth, kinds } = this.tree.cols;
    const probe = document.createElement("i");
    this.box.append(probe);
    const colours = kinds.map(([, css]) => { probe.className = `brush__probe ${css}`; return getComputedStyle(probe).color; });
    probe.className = "brush__probe brush__probe--bad";
    const bad = getComputedStyle(probe).color;
    probe.remove();
    const lines = Math.max(1, Math.floor((height - 12) / 5));
    let line = 0;
    for (let row = 0; row < start.length; row++) {
      if (start[row] === null || (this.tree.size[row] && depth[row] === 0)) continue;
      const long = length[row] === null ? this.tree.total - start[row] : length[row];
      pen.fillStyle = error[row] ? bad : colours[kind[row]];
      pen.fillRect((start[row] / this.tree.total) * width, 6 + (line % lines) * 5, Math.max(1.5, (long / this.tree.total) * width), 3);
      line++;
    }
  }

  place() {
    if (!this.box) return;
    const { from, to, total } = this.tree;
    this.frame.style.setProperty("--l", ((from / total) * 100).toFixed(3));
    this.frame.style.setProperty("--w", (((to - from) / total) * 100).toFixed(3));
    this.box.setAttribute("aria-label", `Zoom: showing ${seconds(from)} s to ${seconds(to)} s of ${seconds(total)} s`);
    for (const edge of this.edges) {
      const value = edge.dataset.edge === "from" ? from : to;
      edge.setAttribute("aria-valuemax", total.toFixed(3));
      edge.setAttribute("aria-valuenow", value.toFixed(3));
      edge.setAttribute("aria-valuetext", `${seconds(value)} s`);
    }
  }

  at(event) {
    const box = this.box.getBoundingClientRect();
    return Math.min(Math.max(0, (event.clientX - box.left) / box.width), 1) * this.tree.total;
  }

  grab(event) {
    if (event.button) return;
    event.preventDefault();
    const { tree } = this;
    const begun = this.at(event);
    const [from, to] = [tree.from, tree.to];
    const edge = event.target.closest("[data-edge]")?.dataset.edge;
    const inside = tree.isZoomed && begun > from && begun < to && !edge;
    let dragged = false;
    const move = (moved) => {
      const now = this.at(moved);
      if (Math.abs(now - begun) > tree.total / 500) dragged = true;
      if (!dragged) return;
      if (edge === "from") tree.setWindow(Math.min(now, to), to);
      else if (edge === "to") tree.setWindow(from, Math.max(now, from));
      else if (inside) {
        const by = Math.min(Math.max(now - begun, -from), tree.total - to);
        tree.setWindow(from + by, to + by);
      } else tree.setWindow(Math.min(begun, now), Math.max(begun, now));
    };
    const stop = () => {
      removeEventListener("pointermove", move);
      if (edge) event.target.focus();
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", stop, { once: true });
    addEventListener("pointercancel", stop, { once: true });
  }

  nudge(event) {
    const edge = event.target.closest("[data-edge]")?.dataset.edge;
    const step = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 }[event.key];
    if (!edge || !step) return;
    event.preventDefault();
    event.stopPropagation();
    const by = (step * this.tree.total) / 100;
    if (edge === "from") this.tree.setWindow(Math.min(Math.max(0, this.tree.from + by), this.tree.to - this.tree.total / 100), this.tree.to);
    else this.tree.setWindow(this.tree.from, Math.max(Math.min(this.tree.total, this.tree.to + by), this.tree.from + this.tree.total / 100));
  }
}
