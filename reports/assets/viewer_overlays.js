"use strict";
// What lies over a picture: each overlay has a switch and an opacity. The switches work without this.
window.viewerOverlays = function (stage, canvas, changed) {
  const KEPT = "viewer_overlays";
  const switches = Array.from(stage.querySelectorAll(":scope > input[data-overlay]"));
  const sliders = Array.from(stage.querySelectorAll("[data-opacity]"));
  const maps = switches.filter(function (one) { return one.hasAttribute("data-map"); });

  function load() {
    try { return JSON.parse(sessionStorage.getItem(KEPT)) || {}; } catch (error) { return {}; }
  }
  function keep() {
    const state = load();
    for (const one of switches) { state[one.dataset.overlay] = Object.assign({}, state[one.dataset.overlay], { on: one.checked }); }
    for (const one of sliders) { state[one.dataset.opacity] = Object.assign({}, state[one.dataset.opacity], { opacity: Number(one.value) }); }
    sessionStorage.setItem(KEPT, JSON.stringify(state));
  }
  function draw() {
    for (const one of sliders) { canvas.style.setProperty("--over-" + one.dataset.opacity, one.value / 100); }
    canvas.classList.toggle("mapped", maps.some(function (one) { return one.checked; }));
    changed();
  }
  // One map after another, then none.
  function cycle() {
    const at = maps.map(function (one) { return one.checked; }).lastIndexOf(true);
    for (const one of maps) { one.checked = false; }
    if (at + 1 < maps.length) { maps[at + 1].checked = true; }
    keep();
    draw();
  }
  const state = load();
  for (const one of switches) {
    const kept = state[one.dataset.overlay];
    if (kept && kept.on !== undefined && !one.hasAttribute("data-map")) { one.checked = kept.on; } // a map is asked for anew
    one.addEventListener("change", function () { keep(); draw(); });
  }
  for (const one of sliders) {
    const kept = state[one.dataset.opacity];
    if (kept && kept.opacity !== undefined) { one.value = kept.opacity; }
    one.closest("label").hidden = false;
    one.addEventListener("input", function () { keep(); draw(); });
  }
  return { draw: draw, cycle: cycle };
};
