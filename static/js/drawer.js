// The drawer beside a list: `#drawer` with [data-drawer] is open, anything else is closed. Links into it work without this file;
// with it the page behind stays where it was, focus is kept inside, keys move on (data-key="j"), and Esc gives focus back.

import { typing, keysOn } from "./shell.js";

const app = document.querySelector(".app");
let opener = null;
let shown = location.search;

const drawer = () => document.querySelector("#drawer[data-drawer]");

function opened() {
  const open = drawer();
  app?.toggleAttribute("inert", Boolean(open));
  document.documentElement.toggleAttribute("data-drawer-open", Boolean(open));
  if (!open) return;
  const panel = open.querySelector("[role=dialog]");
  if (!panel.contains(document.activeElement)) panel.focus({ preventScroll: true });
}

function close() {
  const open = drawer();
  if (!open) return;
  const address = open.dataset.close.replace(/\?$/, "");
  const back = open.dataset.return;
  history.pushState({}, "", address || location.pathname);
  shown = location.search;
  const empty = document.createElement("div");
  empty.id = "drawer";
  empty.hidden = true;
  open.replaceWith(empty);
  opened();
  const again = (opener?.id ? document.getElementById(opener.id) : opener?.isConnected && opener) || document.getElementById(back);
  again?.focus();
  opener = null;
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-opens='drawer']");
  if (link) opener = link;
  if (event.target.closest("[data-drawer-close]") && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    close();
  }
  const asks = event.target.closest("[data-confirm]");
  if (asks && !confirm(asks.dataset.confirm)) event.preventDefault();
});

document.addEventListener("keydown", (event) => {
  const open = drawer();
  if (!open) return;
  if (event.key === "Escape") {
    event.preventDefault();
    close();
    return;
  }
  if (event.key === "Tab") {
    const stops = [...open.querySelectorAll("a[href]:not([tabindex='-1']), button:not([disabled]), input, select, textarea, summary, [tabindex='0']")].filter((stop) => stop.offsetParent !== null);
    if (!stops.length) return;
    const [first, last] = [stops[0], stops[stops.length - 1]];
    const inside = open.contains(document.activeElement) && stops.includes(document.activeElement);
    if (event.shiftKey ? document.activeElement === first || !inside : document.activeElement === last) {
      event.preventDefault();
      (event.shiftKey ? last : first).focus();
    }
    return;
  }
  if (typing(event) || !keysOn()) return;
  const target = open.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (target) {
    event.preventDefault();
    target.click();
  }
});

document.addEventListener("htmx:afterSwap", opened);
document.addEventListener("htmx:pushedIntoHistory", () => { shown = location.search; });
// The address is the state: going back shows the page as it was then.
addEventListener("popstate", () => { if (location.search !== shown) location.reload(); });
opened();
