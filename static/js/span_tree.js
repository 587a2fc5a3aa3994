// Tree and timeline of a trace: one component over the columns that the page carries (traces/tree.py: tree_columns). The server
// has drawn the first rows; this takes over with all of them: folding, finding, zoom, lanes, keys, and the span panel beside it.

import { keysOn, typing } from "./shell.js";
import { VirtualList } from "./virtual_list.js";

const ROW = 30; // px, as `.wf__row`
const HEAD = 34; // px of the sticky head above the rows
const MAX_INDENT = 12; // as in the server's rows
const LAST_TICK = 91; // percent: a label further right would run into the column beside it
const TICK = 56; // px, the longest label
const NONE = "–";

const IDLE_CALLS = 3000; // tool calls whose arguments are asked for unasked; of more, only when they are wanted
const MICRO = 1e-6;

const panel = document.getElementById("span-panel");

// Times to seconds; what rows carry as flags, by row.
function readColumns(cols) {
  const inSeconds = (value) => (value === null ? null : value * MICRO);
  cols.start = cols.start.map(inSeconds);
  cols.length = cols.length.map(inSeconds);
  cols.flags = new Map(cols.flags);
  return cols;
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
const two = (number) => String(number).padStart(2, "0");

// A time of the run in the unit that suits the whole of it: as `moment` of traces/tree.py.
function moment(value, total) {
  if (total < 0.5) return `${Number((value * 1000).toFixed(total < 0.01 ? 2 : 1))} ms`;
  if (total < 100) return `${Number(value.toFixed(2))} s`;
  const whole = Math.round(value);
  if (total < 3600) return `${Math.floor(whole / 60)}:${two(whole % 60)} min`;
  return `${Math.floor(whole / 3600)}:${two(Math.floor((whole % 3600) / 60))}:${two(whole % 60)} h`;
}

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
    this.worst = new Uint8Array(this.n); // of the calls that repeat a row: 1 suspected, 2 failed
    this.icons = cols.kinds.map(([, css, icon, label]) => ({ css, icon: `#i-${icon}`, label }));
    this.missing = cols.kinds.findIndex(([kind]) => kind === "missing");
    this.agent = cols.kinds.findIndex(([kind]) => kind === "agent");
    this.tool = cols.kinds.findIndex(([kind]) => kind === "tool");
    this.repeats = new Int32Array(this.n); // how often a call was made in all; -1: it repeats one that stands above it

    const address = new URLSearchParams(location.search);
    this.only = address.get("only") || "";
    this.find = address.get("find") || "";
    this.lanes = this.view === "timeline" && address.get("lanes") === "1";
    this.foldsRepeats = localStorage.getItem("fold-repeats") === "on";
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
    for (const control of document.querySelectorAll("[data-fold], [data-measure], [data-fold-all], [data-lanes]")) control.hidden = false;
    this.offerKinds();
    this.listen();
    this.writeTools();
    this.findInside();
    this.applyFilter(true);
    this.drawWindow();
    if (this.selected >= 0 && this.isChosen) {
      this.open(this.selected);
      const place = this.place[this.shownRow(this.selected)];
      if (place >= 0) this.list.reveal(place, { middle: true, head: HEAD });
    }
    this.sumUp();
    section.dataset.ready = "true";
    this.offerRepeats();
  }

  // Parents, sizes and places among siblings follow from the depths.
  layOut() {
    const { depth } = this.cols;
    const n = this.n;
    this.parent = new Int32Array(n).fill(-1);
    this.size = new Int32Array(n);
    this.spot = new Int32Array(n);
    this.siblings = new Int32Array(n);
    this.failed = new Int32Array(n); // failed spans in the subtree
    this.laneOf = new Int32Array(n); // the agent that a row belongs to, itself where it is one
    this.laneDepth = new Int32Array(n);
    const agent = this.cols.kinds.findIndex(([kind]) => kind === "agent");
    const children = new Int32Array(n + 1);
    const path = [];
    for (let row = 0; row < n; row++) {
      path.length = depth[row];
      const parent = depth[row] ? path[depth[row] - 1] : -1;
      this.parent[row] = parent;
      this.spot[row] = ++children[parent + 1];
      const isLane = parent < 0 || this.cols.kind[row] === agent;
      this.laneOf[row] = isLane ? row : this.laneOf[parent];
      this.laneDepth[row] = parent < 0 ? 0 : this.laneDepth[this.laneOf[parent]] + (isLane ? 1 : 0);
      path.push(row);
    }
    for (let row = n - 1; row >= 0; row--) {
      this.siblings[row] = children[this.parent[row] + 1];
      this.failed[row] += this.cols.error[row];
      if (this.parent[row] >= 0) this.failed[this.parent[row]] += this.failed[row];
      if (this.parent[row] >= 0) this.size[this.parent[row]] += this.size[row] + 1;
    }
  }

  // Text `what` (name, detail or tool) of a row.
  text(what, row) {
    return this.cols.words[this.cols[what][row]];
  }

  isSuspect(row) {
    return this.cols.flags.has(row);
  }

  // The row that stands for another one: in lanes, the agent's.
  shownRow(row) {
    return this.lanes && row >= 0 ? this.laneOf[row] : row;
  }

  // What is shown ------------------------------------------------------------------------------------------------

  matchesFilter() {
    const { cols } = this;
    const words = this.find.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    if (!this.only && !words.length) return null;
    const kind = cols.kinds.findIndex(([name]) => name === this.only);
    const isWanted = {
      "": () => true,
      errors: (row) => cols.error[row],
      suspect: (row) => this.isSuspect(row),
      slowest: (row) => cols.slow[row],
    }[this.only] || ((row) => cols.kind[row] === kind);
    this.lower ??= cols.words.map((text) => text.toLocaleLowerCase());
    const inWords = words.map((word) => this.lower.map((text) => text.includes(word))); // each text once, not once a row
    const keep = new Uint8Array(this.n); // 1 a parent of one that matches, 2 matches
    this.hits = 0;
    for (let row = 0; row < this.n; row++) {
      if (!isWanted(row)) continue;
      const texts = [cols.name[row], cols.detail[row], cols.tool[row], cols.model[row]];
      if (!words.every((word, at) => texts.some((text) => inWords[at][text]) || cols.id[row].toLocaleLowerCase().includes(word))) continue;
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
    this.tools.querySelector("[data-steps]").hidden = !this.matches || !this.hits;
    if (this.matches) this.folded.fill(0);
    this.refresh();
    if (!first) {
      this.writeAddress();
      if (this.cursor >= 0 && this.place[this.cursor] >= 0) this.list.reveal(this.place[this.cursor], { head: HEAD });
      else this.section.scrollTop = 0;
    }
  }

  // Go to the next match of the filter, or the one before; the count says which one it is.
  goToMatch(step) {
    if (!this.matches || !this.hits) return;
    let row = this.selected >= 0 && this.isChosen ? this.selected : step > 0 ? -1 : this.n;
    do row = (row + step + this.n) % this.n; while (this.matches[row] !== 2);
    this.select(row, { focus: false });
    let number = 0;
    for (let at = 0; at <= row; at++) if (this.matches[at] === 2) number++;
    this.tools.querySelector("[data-hits]").textContent = `Match ${count(number)} of ${count(this.hits)}`;
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
      if (this.lanes ? this.laneOf[row] !== row : this.foldsRepeats && this.repeats[row] < 0 && !this.matches) {
        row += this.lanes ? 1 : this.size[row] + 1;
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
    const [twist, kind, label, mark, warn] = name.children;
    row.parts = {
      name, twist, kind, use: kind.querySelector("use"), title: label.children[0], detail: label.children[1], mark, warn, lane,
      bar: lane.firstElementChild, text: lane.firstElementChild.firstElementChild, length,
    };
    row.parts.title.dir = "auto";
    return row;
  }

  drawRow(element, row) {
    const { cols } = this;
    const { name, twist, kind, use, title, detail, mark, warn, bar, text, length } = element.parts;
    const depth = this.lanes ? this.laneDepth[row] : cols.depth[row];
    const isShut = this.folded[row];
    const look = this.icons[cols.kind[row]];
    const isMissing = cols.kind[row] === this.missing;
    element.row = row;
    element.className = `wf__row ${look.css}${this.matches?.[row] === 1 ? " wf__row--context" : ""}`;
    element.setAttribute("aria-level", depth + 1);
    element.setAttribute("aria-setsize", this.siblings[row]);
    element.setAttribute("aria-posinset", this.spot[row]);
    element.setAttribute("aria-selected", row === this.shownRow(this.selected));
    element.tabIndex = row === this.cursor ? 0 : -1;
    if (this.size[row]) element.setAttribute("aria-expanded", !this.folded[row]);
    else element.removeAttribute("aria-expanded");
    if (isMissing) element.removeAttribute("href");
    else element.href = `?span=${encodeURIComponent(cols.id[row])}`;
    name.style.setProperty("--d", Math.min(depth, MAX_INDENT));
    twist.className = this.size[row] ? (isShut ? "tw" : "tw tw--open") : "tw";
    twist.firstElementChild.toggleAttribute("hidden", !this.size[row]);
    kind.title = look.label;
    use.setAttribute("href", look.icon);
    title.textContent = this.text("name", row);
    detail.textContent = this.detail(row, depth, isShut);
    const worst = this.foldsRepeats ? this.worst[row] : 0;
    const hasFailed = (isShut || this.lanes) && this.failed[row];
    mark.hidden = !cols.error[row] && !hasFailed && worst < 2;
    mark.title = cols.error[row] ? "Error" : hasFailed ? `${count(this.failed[row])} failed under it` : "One of the repeated calls failed";
    warn.hidden = !mark.hidden || !(this.isSuspect(row) || worst);
    warn.title = warn.hidden ? "" : (cols.flags.get(row) || ["One of the repeated calls looks like a failure."]).join(" ");
    element.title = this.sum(row);
    length.textContent = this.value(row);
    this.drawBar(bar, text, row);
    this.drawLane(element.parts, row);
  }

  // The short fact beside a name: what is hidden below it, else what the server says, else the arguments of the call.
  detail(row, depth, isShut) {
    if (this.lanes) return `${count(this.size[row] + 1)} span${this.size[row] ? "s" : ""}`;
    if (isShut) return `${count(this.size[row])} under it${this.failed[row] - this.cols.error[row] ? `, ${count(this.failed[row] - this.cols.error[row])} failed` : ""}`;
    const said = this.text("detail", row) || this.lines?.get(row) || (depth > MAX_INDENT ? `level ${depth + 1}` : "");
    return this.foldsRepeats && this.repeats[row] > 1 ? `${count(this.repeats[row])} times${said ? ` · ${said}` : ""}` : said;
  }

  // Everything that an agent did, on one line: up to three above each other where they overlap.
  drawLane(parts, row) {
    if (!this.lanes) {
      if (parts.canvas) parts.canvas.hidden = true;
      return;
    }
    if (!parts.canvas) {
      parts.canvas = document.createElement("canvas");
      parts.canvas.className = "lane";
      parts.canvas.setAttribute("aria-hidden", "true");
      parts.lane.append(parts.canvas);
    }
    parts.bar.hidden = true;
    parts.canvas.hidden = false;
    const width = parts.lane.clientWidth;
    const scale = devicePixelRatio || 1;
    if (parts.canvas.width !== Math.round(width * scale)) parts.canvas.width = Math.round(width * scale);
    parts.canvas.height = ROW * scale;
    const pen = parts.canvas.getContext("2d");
    pen.scale(scale, scale);
    const { start, length, kind, error } = this.cols;
    const { colours, bad } = this.palette();
    const perSecond = width / (this.to - this.from);
    const ends = [-1, -1, -1];
    for (const at of this.members(row)) {
      if (start[at] === null) continue;
      const end = length[at] === null ? this.total : start[at] + length[at];
      if (end < this.from || start[at] > this.to) continue;
      const left = Math.max(0, (start[at] - this.from) * perSecond);
      const right = Math.max(left + 1.5, Math.min(width, (end - this.from) * perSecond));
      let line = ends.findIndex((last) => last <= left + 0.01);
      if (line < 0) line = 2;
      if (right - left < 2 && right <= ends[line] + 0.5 && !error[at]) continue; // within the pixel that was just drawn
      ends[line] = right;
      pen.fillStyle = error[at] ? bad : colours[kind[at]];
      pen.fillRect(left, 5 + line * 7, right - left, 6);
    }
  }

  // The rows of an agent's lane: its own, not those of the agents that it called; an agent alone stands for itself.
  members(lane) {
    if (!this.laneRows) {
      this.laneRows = new Map();
      for (let row = 0; row < this.n; row++) {
        const rows = this.laneRows.get(this.laneOf[row]);
        if (!rows) this.laneRows.set(this.laneOf[row], [row]);
        else rows.push(row);
      }
    }
    const rows = this.laneRows.get(lane) || [];
    return rows.length > 1 ? rows.filter((row) => row !== lane && !this.size[row]) : rows;
  }

  // The row under a click in a lane: the shortest one there.
  memberAt(lane, share) {
    const { start, length } = this.cols;
    const at = this.from + share * (this.to - this.from);
    const slack = (this.to - this.from) / 200;
    let found = lane;
    for (const row of this.members(lane)) {
      if (start[row] === null || start[row] - slack > at) continue;
      const long = length[row] ?? this.total - start[row];
      if (start[row] + long + slack >= at && (found === lane || long < (length[found] ?? Infinity))) found = row;
    }
    return found;
  }

  // The colours of the kinds, as the theme has them.
  palette() {
    const theme = `${document.documentElement.dataset.theme || ""}${matchMedia("(prefers-color-scheme: dark)").matches}`;
    if (this.colours?.theme === theme) return this.colours;
    const probe = document.createElement("i");
    this.section.append(probe);
    const read = (css) => { probe.className = `brush__probe ${css}`; return getComputedStyle(probe).color; };
    this.colours = { theme, colours: this.cols.kinds.map(([, css]) => read(css)), bad: read("brush__probe--bad") };
    probe.remove();
    return this.colours;
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
    if (this.measure === "errors") return this.failed[row] ? count(this.failed[row]) : NONE;
    if (length[row] === null) return NONE;
    return this.measure === "share" ? share(length[row], this.total) : duration(length[row] * 1000);
  }

  // The roll-up of a subtree, on hover.
  sum(row) {
    const { length, tokens, cost, kind, flags } = this.cols;
    if (kind[row] === this.missing) return "This span was named as a parent and has not been received. It may still come.";
    const parts = [this.text("name", row), length[row] === null ? "no length recorded" : duration(length[row] * 1000)];
    const under = this.size[row] ? `with the ${count(this.size[row])} under it: ` : "";
    if (tokens[row] !== null) parts.push(`${under}${count(tokens[row])} tokens${cost[row] !== null ? `, ${money(cost[row])}` : ""}`);
    if (this.size[row] && this.failed[row]) parts.push(`${count(this.failed[row])} failed`);
    return [...parts, ...(flags.get(row) || [])].join(" · ");
  }

  // The same roll-up in the panel, where it is read without a mouse.
  sumUp() {
    const box = panel.querySelector("[data-rollup]");
    const row = this.selected;
    if (!box || row < 0 || !this.size[row]) return;
    const { tokens, cost, length } = this.cols;
    const facts = [["Under it", `${count(this.size[row])} span${this.size[row] === 1 ? "" : "s"}`]];
    if (length[row] !== null && this.total) facts.push(["Share of the run", share(length[row], this.total)]);
    if (tokens[row] !== null) facts.push(["Tokens in all", count(tokens[row])]);
    if (cost[row] !== null) facts.push(["Cost in all", money(cost[row])]);
    facts.push(["Errors", count(this.failed[row])]);
    box.replaceChildren(...facts.map(([word, value]) => {
      const pair = document.createElement("div");
      pair.append(document.createElement("dt"), document.createElement("dd"));
      pair.firstChild.textContent = word;
      pair.lastChild.textContent = value;
      return pair;
    }));
    box.hidden = false;
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
    if (this.foldsRepeats && this.repeats[row] < 0) { // it is folded under the call that it repeats
      this.foldsRepeats = false;
      this.writeTools();
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
    const shown = this.shownRow(row);
    this.moveTo(shown, { focus });
    if (this.cols.kind[row] === this.missing) return;
    this.selected = row;
    this.isChosen = true;
    for (const element of this.list.rows.values()) element.setAttribute("aria-selected", element.row === shown);
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
    put("lanes", this.lanes ? "1" : "");
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
      const kept = new URLSearchParams(link.search);
      if (address.has("span")) kept.set("span", address.get("span")); else kept.delete("span");
      link.search = kept.toString();
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

  // The next span that failed, or that a detector suspects.
  nextError() {
    for (let step = 1; step <= this.n; step++) {
      const row = ((this.selected >= 0 ? this.selected : this.cursor) + step + this.n) % this.n;
      if (!this.cols.error[row] && !this.isSuspect(row)) continue;
      this.select(row, { push: true });
      return;
    }
  }

  writeTools() {
    this.tools.querySelector("[name=find]").value = this.find;
    this.tools.querySelector("[name=only]").value = this.only;
    const lanes = this.tools.querySelector("[data-lanes]");
    if (lanes) lanes.value = this.lanes ? "1" : "";
    this.tools.querySelector("[data-repeats]").setAttribute("aria-pressed", this.foldsRepeats);
  }

  // Kinds that hold others can be folded as one.
  offerKinds() {
    const { kind, kinds } = this.cols;
    const holds = new Set();
    for (let row = 0; row < this.n; row++) if (this.size[row] && this.parent[row] >= 0) holds.add(kind[row]);
    const choice = this.tools.querySelector("[data-fold]");
    for (const at of holds) choice.append(new Option(`Fold: ${kinds[at][3].toLowerCase()}`, `kind:${at}`));
  }

  foldKind(kind) {
    for (let row = 0; row < this.n; row++) this.folded[row] = this.size[row] && this.parent[row] >= 0 && this.cols.kind[row] === kind ? 1 : 0;
    this.refresh();
  }

  // Repeated calls ----------------------------------------------------------------------------------------------

  offerRepeats() {
    const calls = this.cols.kind.reduce((sum, kind) => sum + (kind === this.tool), 0);
    if (!calls) return;
    if (calls <= IDLE_CALLS) (window.requestIdleCallback || setTimeout)(() => this.askCalls());
    else this.tools.querySelector("[data-repeats]").hidden = false;
    if (calls > IDLE_CALLS && this.foldsRepeats) this.askCalls();
  }

  // What the tools were called with comes apart from the rows, since it lies in the payloads.
  async askCalls() {
    if (this.lines) return;
    this.lines = new Map();
    const answer = await fetch(this.section.dataset.callsUrl, { credentials: "same-origin" }).catch(() => null);
    if (!answer?.ok) { this.lines = null; return; }
    const calls = await answer.json();
    const last = new Map(); // parent -> [number of its last call, row of the first one of these]
    let repeats = 0;
    for (let row = 0; row < this.n; row++) {
      const call = this.cols.kind[row] === this.tool && calls[this.cols.id[row]];
      if (!call) continue;
      this.lines.set(row, call[0]);
      const [number, first] = last.get(this.parent[row]) || [];
      if (number === call[1]) {
        this.repeats[first] = (this.repeats[first] || 1) + 1;
        this.repeats[row] = -1;
        this.worst[first] = Math.max(this.worst[first], this.cols.error[row] ? 2 : this.isSuspect(row) ? 1 : 0);
        repeats++;
      } else last.set(this.parent[row], [call[1], row]);
    }
    const button = this.tools.querySelector("[data-repeats]");
    button.hidden = !repeats;
    button.textContent = `Fold ${count(repeats)} repeated call${repeats === 1 ? "" : "s"}`;
    if (this.foldsRepeats && repeats) this.refresh(); else this.list.redraw();
  }

  async toggleRepeats() {
    await this.askCalls();
    this.foldsRepeats = !this.foldsRepeats;
    localStorage.setItem("fold-repeats", this.foldsRepeats ? "on" : "off");
    this.writeTools();
    this.refresh();
  }

  setLanes(isOn) {
    this.lanes = isOn;
    this.cursor = this.shownRow(this.cursor);
    this.refresh();
    this.writeAddress();
    if (this.place[this.cursor] >= 0) this.list.reveal(this.place[this.cursor], { head: HEAD });
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
      tick.textContent = left(at) <= LAST_TICK && ((100 - left(at)) / 100) * head.clientWidth > TICK ? tickLabel(at, step) : "";
      return tick;
    }));
    this.section.style.setProperty("--g", places.length > 1 ? ((places[0][1] / length) * 100).toFixed(3) : 100);
    this.section.style.setProperty("--go", places.length ? left(places[0][0]).toFixed(3) : 0);
    const said = document.querySelector("[data-window]");
    if (said) said.textContent = `${moment(this.from, this.total)} to ${moment(this.to, this.total)}`;
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
      } else if (this.lanes && event.target.matches("canvas")) {
        const box = event.target.getBoundingClientRect();
        this.select(this.memberAt(element.row, (event.clientX - box.left) / box.width), { push: true });
      } else this.select(element.row, { push: true });
    });
    const form = this.tools.querySelector("[data-tree-form]");
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.target.name !== "find") return;
      event.preventDefault();
      if (this.tools.querySelector("[name=find]").value.trim() !== this.find) this.readTools();
      this.goToMatch(event.shiftKey ? -1 : 1);
    });
    form.addEventListener("input", (event) => {
      clearTimeout(this.finding);
      if (event.target.matches("[data-fold]")) {
        const [word, kind] = event.target.value.split(":");
        if (word === "") { this.folded.fill(0); this.refresh(); } else if (kind) this.foldKind(Number(kind)); else this.foldTo(Number(word));
      } else if (event.target.matches("[data-lanes]")) {
        this.setLanes(event.target.value === "1");
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
      const step = event.target.closest("[data-match]");
      if (step) this.goToMatch(Number(step.dataset.match));
      if (event.target.closest("[data-repeats]")) this.toggleRepeats();
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
      this.moveTo(this.shownRow(row), { focus: false });
      this.list.redraw();
      this.loadPanel();
    });
    document.addEventListener("htmx:afterSettle", (event) => {
      if (event.detail.target !== panel && event.detail.elt !== panel) return;
      panel.scrollTop = 0;
      this.showClose();
      this.sumUp();
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
  return step < 1800 ? `${Math.floor(at / 60)}:${two(Math.round(at % 60))} min` : `${Math.floor(at / 3600)}:${two(Math.round((at % 3600) / 60))} h`;
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
    const { start, length, kind, error, depth } = this.tree.cols;
    const { colours, bad } = this.tree.palette();
    const lines = Math.max(1, Math.floor((height - 12) / 5));
    const perSecond = width / this.tree.total;
    const ends = new Float64Array(lines).fill(-1); // what a line shows already, so that 50,000 rows draw no pixel twice
    let line = 0;
    for (let row = 0; row < start.length; row++) {
      if (start[row] === null || (this.tree.size[row] && depth[row] === 0)) continue;
      const long = length[row] === null ? this.tree.total - start[row] : length[row];
      const left = start[row] * perSecond;
      const at = line++ % lines;
      const right = left + Math.max(1.5, long * perSecond);
      if (right < ends[at] + 0.5 && right - left < 3 && !error[row]) continue;
      ends[at] = Math.max(ends[at], right);
      pen.fillStyle = error[row] ? bad : colours[kind[row]];
      pen.fillRect(left, 6 + at * 5, right - left, 3);
    }
  }

  place() {
    if (!this.box) return;
    const { from, to, total } = this.tree;
    this.frame.style.setProperty("--l", ((from / total) * 100).toFixed(3));
    this.frame.style.setProperty("--w", (((to - from) / total) * 100).toFixed(3));
    this.box.setAttribute("aria-label", `Zoom: showing ${moment(from, total)} to ${moment(to, total)} of ${moment(total, total)}`);
    for (const edge of this.edges) {
      const value = edge.dataset.edge === "from" ? from : to;
      edge.setAttribute("aria-valuemax", total.toFixed(3));
      edge.setAttribute("aria-valuenow", value.toFixed(3));
      edge.setAttribute("aria-valuetext", moment(value, total));
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

const section = document.querySelector("[data-span-tree]");
const columns = document.getElementById("span-columns");
if (section && columns) {
  const cols = readColumns(JSON.parse(columns.textContent));
  columns.remove();
  if (cols.id.length) new SpanTree(section, cols);
}
