// The thread of a run or a session: further turns come as the reader gets near them, a sub-agent's own thread when it is opened;
// a link to a turn that is not on the page yet brings it.

import { keysOn, typing } from "./shell.js";

const NEAR = "1500px 0px"; // how far below what is seen the next turns are asked for

const thread = document.querySelector("[data-thread]");
if (thread) {
  // the thread scrolls in its own box, on a phone the whole page does
  const near = new IntersectionObserver(follow, { root: getComputedStyle(thread).overflowY === "visible" ? null : thread, rootMargin: NEAR });
  const watch = (scope) => { for (const more of scope.querySelectorAll("[data-more]")) near.observe(more); };

  function follow(entries) {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      near.unobserve(entry.target);
      ask(entry.target);
    }
  }

  watch(thread);
  document.addEventListener("htmx:load", (event) => watch(event.detail.elt.parentElement ?? thread));
  // "toggle" does not bubble
  thread.addEventListener("toggle", (event) => {
    if (!event.target.open || !event.target.matches("[data-sub]")) return;
    const more = event.target.querySelector(":scope > .stack > .more");
    if (more) ask(more);
  }, true);

  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-turn], .turn__no");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const turn = document.getElementById(link.dataset.turn || link.hash.slice(1));
    if (!turn) return; // the link leads to the page that holds it
    event.preventDefault();
    history.pushState(null, "", `#${turn.id}`);
    turn.scrollIntoView();
  });
  addEventListener("hashchange", findTurn);
  findTurn();
}

function findTurn() {
  const wanted = location.hash.slice(1);
  if (!/^(run-\d+-)?turn-\d+$/.test(wanted) || document.getElementById(wanted)) return;
  const address = new URLSearchParams(location.search);
  if (address.get("at") === wanted) return; // this is its page, and it is not there
  for (const name of ["before", "block", "inside"]) address.delete(name);
  address.set("at", wanted);
  location.replace(`${location.pathname}?${address}#${wanted}`);
}

function ask(more) {
  const link = more.querySelector("[hx-get]");
  if (link) window.htmx.trigger(link, "more");
}

// E goes to the next tool call that failed or seems to have; to its turn where that is not on the page yet.
document.addEventListener("keydown", (event) => {
  if (!thread || event.key.toLowerCase() !== "e" || typing(event) || !keysOn() || document.querySelector("dialog[open]")) return;
  const here = event.target.closest?.(".tool");
  const cards = [...thread.querySelectorAll(".tool--bad, .tool--warn")];
  const next = cards.find((card) => card !== here && (!here || here.compareDocumentPosition(card) & Node.DOCUMENT_POSITION_FOLLOWING));
  const last = [...thread.querySelectorAll(".turn[id]")].at(-1);
  const turns = [...document.querySelectorAll("[data-turn]")];
  const beyond = turns.slice(turns.findIndex((link) => link.dataset.turn === last?.id) + 1).find((link) => link.querySelector(".mark"));
  if (!next && beyond && thread.querySelector("[data-more]")) { event.preventDefault(); return beyond.click(); }
  const card = next || cards[0];
  if (!card) return;
  event.preventDefault();
  for (let fold = card.parentElement.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  card.open = true;
  card.querySelector("summary").focus();
  card.scrollIntoView({ block: "center" });
});

// R shows the raw values of the card that has the focus, else of every open card, and hides them again.
document.addEventListener("keydown", (event) => {
  if (!thread || event.key.toLowerCase() !== "r" || typing(event) || !keysOn() || document.querySelector("dialog[open]")) return;
  const own = event.target.closest?.(".tool");
  const cards = own ? [own] : [...thread.querySelectorAll(".tool")];
  if (own) own.open = true;
  const raws = cards.map((card) => card.querySelector("[data-raw]")).filter(Boolean);
  const isOpen = raws.some((raw) => !raw.open);
  for (const raw of raws) raw.open = isOpen;
  if (raws.length) event.preventDefault();
});
