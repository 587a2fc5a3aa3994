// The send page: which SDK's text shows, and dropping a file.

const tabs = (list) => [...list.querySelectorAll("[role=tab]")];

function show(tab) {
  for (const other of tabs(tab.closest("[role=tablist]"))) {
    const on = other === tab;
    other.setAttribute("aria-selected", String(on));
    other.tabIndex = on ? 0 : -1;
    document.getElementById(other.getAttribute("aria-controls")).hidden = !on;
  }
}

document.addEventListener("click", (event) => {
  const tab = event.target.closest(".sdks [role=tab]");
  if (tab) show(tab);
});

document.addEventListener("keydown", (event) => {
  const tab = event.target.closest?.(".sdks [role=tab]");
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!tab || !by) return;
  const list = tabs(tab.closest("[role=tablist]"));
  const next = list[(list.indexOf(tab) + by + list.length) % list.length];
  event.preventDefault();
  show(next);
  next.focus();
});

document.addEventListener("dragover", (event) => { if (event.target.closest?.("[data-drop]")) event.preventDefault(); });
document.addEventListener("drop", (event) => {
  const box = event.target.closest?.("[data-drop]");
  if (!box || !event.dataTransfer.files.length) return;
  event.preventDefault();
  const input = box.querySelector("input[type=file]");
  input.files = event.dataTransfer.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
});
document.addEventListener("change", (event) => {
  const box = event.target.closest?.("[data-drop]");
  if (!box) return;
  const file = event.target.files[0];
  box.querySelector("[data-drop-name]").textContent = file ? `${file.name}, ${(file.size / 1048576).toFixed(1)} MB${file.size > 32 * 1048576 ? ": too large, import it on the server" : ""}` : "";
});
