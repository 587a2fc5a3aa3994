// Keys of a trace's page, and the filter inside its panels.

import { keysOn, typing } from "./shell.js";

document.addEventListener("keydown", (event) => {
  if (typing(event) || !keysOn() || event.shiftKey || document.querySelector("dialog[open]")) return;
  const wanted = /^[1234]$/.test(event.key) ? `[data-view-key="${event.key}"]` : /^[jk]$/.test(event.key) ? `[data-trace-key="${event.key}"]` : "";
  const link = wanted && document.querySelector(wanted);
  if (!link) return;
  event.preventDefault();
  link.click();
});

document.addEventListener("input", (event) => {
  const field = event.target.closest("[data-filter]");
  if (!field) return;
  const words = field.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  for (const row of document.querySelectorAll(`${field.dataset.filter} [data-filter-text]`)) {
    const text = `${row.dataset.filterText} ${row.textContent}`.toLocaleLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  }
});

document.addEventListener("click", (event) => {
  for (const open of document.querySelectorAll("details[data-close-outside][open]")) if (!open.contains(event.target) && event.target.isConnected) open.open = false;
});

document.addEventListener("keydown", (event) => {
  const open = event.key === "Escape" && document.querySelector("details[data-close-outside][open]");
  if (!open) return;
  event.stopImmediatePropagation();
  open.open = false;
  open.querySelector("summary").focus();
}, true);
