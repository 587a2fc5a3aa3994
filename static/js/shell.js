// Behaviour of the shell around every page: theme, menu, local times, toasts, keys. Events are delegated from
// `document`, so that htmx swaps need no re-binding.

const root = document.documentElement;

function token() {
  return JSON.parse(document.body.getAttribute("hx-headers") || "{}")["X-CSRFToken"];
}

document.addEventListener("click", (event) => {
  const theme = event.target.closest("[data-theme-toggle]");
  if (theme) {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    document.dispatchEvent(new CustomEvent("themechange"));
    fetch("/theme", { method: "POST", headers: { "X-CSRFToken": token() }, body: new URLSearchParams({ theme: root.dataset.theme }) });
  }
  const nav = event.target.closest("[data-nav-toggle]");
  if (nav) nav.setAttribute("aria-expanded", String(nav.closest(".side").toggleAttribute("data-open")));
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    const source = copy.dataset.copy ? document.querySelector(copy.dataset.copy) : null;
    navigator.clipboard?.writeText(source ? source.value ?? source.textContent : copy.dataset.copyText || location.href);
    toast(copy.dataset.copied || "Copied");
  }
  if (event.target.closest("[data-print]")) print();
  const opener = event.target.closest("[data-dialog-open]");
  if (opener) document.querySelector(opener.dataset.dialogOpen)?.showModal();
});

export function toast(text) {
  const box = document.createElement("div");
  box.className = "toast";
  box.textContent = text;
  document.getElementById("toasts").append(box);
  setTimeout(() => box.remove(), 8000);
}
for (const box of document.querySelectorAll("[data-toast]")) setTimeout(() => box.remove(), 8000);
document.addEventListener("htmx:responseError", (event) => toast(`The server answered ${event.detail.xhr.status}. Nothing was changed; try again.`));
document.addEventListener("htmx:sendError", () => toast("The server cannot be reached. Nothing was changed; try again."));

// Times: the server writes UTC into datetime and title; the viewer sees the local time.
const FORMATS = {
  datetime: { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" },
  date: { day: "numeric", month: "short" },
  time: { hour: "2-digit", minute: "2-digit" },
  seconds: { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" },
};
function ago(date) {
  const seconds = Math.max(0, (Date.now() - date) / 1000);
  for (const [size, unit] of [[86400, "day"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) { const n = Math.floor(seconds / size); return `${n} ${unit}${unit === "day" && n > 1 ? "s" : ""} ago`; }
  }
  return `${Math.floor(seconds)} s ago`;
}
const formatters = new Map(); // making one takes much longer than using it
function formatter(style) {
  if (!formatters.has(style)) formatters.set(style, new Intl.DateTimeFormat("en-GB", { ...(FORMATS[style] || FORMATS.datetime), hourCycle: "h23" }));
  return formatters.get(style);
}
export function localTimes(scope = document) {
  for (const element of scope.querySelectorAll("time[data-local]")) {
    const date = new Date(element.dateTime);
    const format = element.dataset.local;
    if (Number.isNaN(date.valueOf())) continue;
    element.textContent = format === "ago" ? ago(date) : formatter(format).format(date);
  }
}
localTimes();
document.addEventListener("htmx:afterSettle", (event) => localTimes(event.detail.elt.parentNode || document));

// Single keys do nothing while an input has focus, and can be switched off.
export function typing(event) {
  return event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || /^(input|textarea|select)$/i.test(event.target.tagName) || event.target.isContentEditable;
}
export const keysOn = () => localStorage.getItem("single-keys") !== "off";
const keysSwitch = document.querySelector("[data-single-keys]");
keysSwitch?.setAttribute("aria-checked", String(keysOn()));
keysSwitch?.addEventListener("click", () => {
  localStorage.setItem("single-keys", keysOn() ? "off" : "on");
  keysSwitch.setAttribute("aria-checked", String(keysOn()));
});
let leader = 0;
document.addEventListener("keydown", (event) => {
  if (typing(event) || !keysOn()) return;
  if (Date.now() - leader < 1200) {
    leader = 0;
    const name = { t: "Traces", c: "Comparisons", r: "Rubrics", o: "Overview", d: "Datasets" }[event.key.toLowerCase()];
    const link = name && [...document.querySelectorAll(".nav__item")].find((item) => item.textContent.trim().startsWith(name));
    if (link) { event.preventDefault(); link.click(); }
    return;
  }
  if (event.key === "g") leader = Date.now();
  if (event.key === "/") {
    event.preventDefault();
    const field = document.querySelector("[data-search]");
    if (field) { field.focus(); field.select?.(); } else document.querySelector("[data-search-open]")?.click();
  }
  if (event.key === "?") { event.preventDefault(); document.getElementById("keys")?.showModal(); }
});
