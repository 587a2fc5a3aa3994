// Draws plotly figures that the page carries as JSON: <div data-chart="id of the json_script">. Colours are token names of the
// stylesheet and follow the theme. Buttons [data-chart-show="figure id"] in a [data-charts] group switch between figures.
// The table beside each plot holds the same numbers, so nothing is lost without this file.

const CONFIG = { displayModeBar: false, responsive: true, staticPlot: false };
const probe = document.createElement("span");
probe.hidden = true;
document.body.append(probe);

function resolve(name) {
  if (name === "--sans" || name === "--mono") return getComputedStyle(document.documentElement).getPropertyValue(name);
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}

function coloured(value) {
  if (typeof value === "string") return value.startsWith("token:") ? resolve(value.slice(6)) : value;
  if (Array.isArray(value)) return value.map(coloured);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, coloured(part)]));
  return value;
}

function draw(box) {
  const source = document.getElementById(box.dataset.chart);
  if (!source || !window.Plotly) return;
  const figure = coloured(JSON.parse(source.textContent));
  window.Plotly.react(box, figure.data, figure.layout, CONFIG);
  box.dataset.drawn = "true";
}

export function drawAll(scope = document) {
  for (const box of scope.querySelectorAll("[data-chart]")) if (box.offsetParent !== null) draw(box);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-chart-show]");
  if (!button) return;
  const group = button.closest("[data-charts]");
  for (const other of group.querySelectorAll("[data-chart-show]")) other.setAttribute("aria-pressed", String(other === button));
  for (const part of group.querySelectorAll("[data-chart-part]")) part.hidden = part.dataset.chartPart !== button.dataset.chartShow;
  drawAll(group);
});
document.addEventListener("themechange", () => drawAll());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll());
document.addEventListener("htmx:afterSettle", () => {
  for (const box of document.querySelectorAll("[data-chart]:not([data-drawn])")) if (box.offsetParent !== null) draw(box);
});
drawAll();
