// The matrix of a comparison by keyboard: J and K move over the items, Enter opens one. With the drawer open its own keys count.

import { typing, keysOn } from "./shell.js";

document.addEventListener("keydown", (event) => {
  if (typing(event) || !keysOn() || document.querySelector("#drawer[data-drawer]")) return;
  const step = { j: 1, k: -1 }[event.key];
  if (!step) return;
  const links = [...document.querySelectorAll("#samples [id^='item-']")];
  if (!links.length) return;
  const row = document.activeElement?.closest("#samples tr");
  const at = row ? links.findIndex((link) => row.contains(link)) : -1;
  const next = links[Math.max(0, Math.min(links.length - 1, at + step))];
  event.preventDefault();
  next.focus();
  next.scrollIntoView({ block: "nearest" });
});
