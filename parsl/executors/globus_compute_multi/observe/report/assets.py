"""The page's style sheet, and the script that draws its figures."""

STYLE = """
:root { --ink: #1D2733; --soft: #52606D; --line: #D9DFE6; --bad: #C00020; }
* { box-sizing: border-box; }
body { margin: 0; background: #F3F5F8; color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
main, header, footer { max-width: 1320px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 28px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 0 0 2px; }
h3 { font-size: 16px; margin: 18px 0 2px; }
p { margin: 0 0 10px; max-width: 100ch; overflow-wrap: anywhere; }
section > p, .when { color: var(--soft); }
section { background: #FFF; border: 1px solid var(--line); border-radius: 8px; padding: 18px 20px; margin: 16px 0; min-width: 0; }
.lead { font-size: 19px; max-width: 90ch; margin: 10px 0; }
.open { background: #FFF4D6; border: 1px solid #B8730A; border-radius: 8px; padding: 10px 16px; margin: 12px 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px; }
.tile { background: #FFF; border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.tile b { display: block; font-size: 20px; line-height: 1.3; font-variant-numeric: tabular-nums; white-space: nowrap; }
.tile.bad b { color: var(--bad); }
.tile span { color: var(--soft); font-size: 14px; }
ul.found { margin: 6px 0 0; padding-left: 20px; }
ul.found li { margin: 4px 0; overflow-wrap: anywhere; }
.figure { width: 100%; min-width: 0; overflow: hidden; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 560px), 1fr)); gap: 0 16px; }
.pair > section { min-width: 0; }
.scroll, .wide { overflow: auto; margin: 6px 0; }
.scroll { max-height: 480px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 5px 10px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { position: sticky; top: 0; background: #FFF; color: var(--soft); font-weight: 600; vertical-align: bottom; }
td.n, th.n { text-align: right; }
td { overflow-wrap: break-word; max-width: 420px; }
.dot { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 6px; }
details > summary { cursor: pointer; color: #0B5394; margin: 6px 0; }
footer { color: var(--soft); font-size: 14px; padding-bottom: 28px; }
td:last-child { min-width: 180px; }
table.narrow { width: auto; min-width: min(100%, 560px); }
@media screen and (max-width: 960px) {
  table.blocks, table.blocks tbody { display: block; }
  table.blocks thead { display: none; }
  table.blocks tr { display: grid; grid-template-columns: repeat(auto-fill, minmax(128px, 1fr)); gap: 4px 12px; padding: 8px 0;
    border-bottom: 1px solid var(--line); }
  table.blocks td, table.blocks td.n { border: 0; padding: 0; text-align: left; min-width: 0; }
  table.blocks td:last-child { grid-column-end: span 2; }
  table.blocks td.whole { grid-column: 1 / -1; }
  table.blocks td::before { content: attr(data-is); display: block; color: var(--soft); font-size: 12px; line-height: 1.3; }
}
@page { size: 400mm 566mm; margin: 8mm; } /* as wide as a window in which the figures were drawn */
@media print {
  section { break-inside: avoid; }
  .scroll { max-height: none; }
}
@media (max-width: 720px) {
  main, header, footer { padding: 0 12px; }
  header { padding-top: 16px; }
  section { padding: 14px 12px; }
  .lead { font-size: 17px; }
}
"""

#: Draws figures as they come near the window, the topmost first, and lets the browser paint in between; for printing all at once.
#: ``data-shown`` has the milliseconds until the first one was drawn, ``data-drawn`` those until all were.
SCRIPT = """
(function () {
  const options = {
    responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"], toImageButtonOptions: {scale: 2}};
  const left = new Set(document.querySelectorAll(".figure"));  // in the order of the page
  const near = new Set();
  let drawing = false;
  function draw(place) {
    left.delete(place);
    const figure = JSON.parse(document.getElementById(place.id + "-data").textContent);
    return Plotly.newPlot(place, figure.data, figure.layout, options).then(function () {
      const now = Math.round(performance.now());
      document.body.dataset.shown = document.body.dataset.shown || now;
      if (!left.size) document.body.dataset.drawn = document.body.dataset.drawn || now;
    });
  }
  function next() {
    const place = Array.from(left).find(place => near.has(place));
    drawing = place !== undefined;
    if (drawing) draw(place).finally(() => setTimeout(next, 0));
  }
  function drawNear() {
    if (!drawing) next();
  }
  if (window.IntersectionObserver) {
    const observer = new IntersectionObserver(function (changes) {
      for (const change of changes) {
        if (change.isIntersecting) near.add(change.target);
        else near.delete(change.target);
      }
      drawNear();
    }, {rootMargin: "300px 0px"});
    left.forEach(place => observer.observe(place));
  } else {
    left.forEach(place => near.add(place));
    drawNear();
  }
  window.addEventListener("beforeprint", () => Array.from(left).forEach(draw));
})();
"""
