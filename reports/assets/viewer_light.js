"use strict";
// Brightness, contrast, gamma and the green channel, of what is shown alone: the stored picture never
// changes. The setting holds for the next pictures too, and the page says so while it does.
window.viewerLight = function (canvases, panel) {
  const KEPT = "viewer_light";
  const NEUTRAL = { brightness: 1, contrast: 1, gamma: 1, green: false };
  const SVG = "http://www.w3.org/2000/svg";
  const GREEN = "0 1 0 0 0  0 1 0 0 0  0 1 0 0 0  0 0 0 1 0";
  const NO_CHANGE = "1 0 0 0 0  0 1 0 0 0  0 0 1 0 0  0 0 0 1 0";
  const filter = build();
  let light = load();

  function load() {
    try { return Object.assign({}, NEUTRAL, JSON.parse(sessionStorage.getItem(KEPT))); } catch (error) { return Object.assign({}, NEUTRAL); }
  }
  function build() {
    const there = document.getElementById("viewer-light");
    if (there) { return there; }
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "hidden");
    svg.setAttribute("aria-hidden", "true");
    const made = document.createElementNS(SVG, "filter");
    made.id = "viewer-light";
    made.setAttribute("color-interpolation-filters", "sRGB");
    made.append(document.createElementNS(SVG, "feColorMatrix"), transfer(), transfer());
    svg.append(made);
    document.body.append(svg);
    return made;
  }
  function transfer() {
    const made = document.createElementNS(SVG, "feComponentTransfer");
    for (const channel of ["R", "G", "B"]) { made.append(document.createElementNS(SVG, "feFunc" + channel)); }
    return made;
  }
  function isNeutral() {
    return Object.keys(NEUTRAL).every(function (key) { return light[key] === NEUTRAL[key]; });
  }
  function tune() {
    const [matrix, power, line] = filter.children;
    matrix.setAttribute("values", light.green ? GREEN : NO_CHANGE);
    for (const one of power.children) { one.setAttribute("type", "gamma"); one.setAttribute("exponent", 1 / light.gamma); }
    for (const one of line.children) {
      one.setAttribute("type", "linear");
      one.setAttribute("slope", light.brightness * light.contrast);
      one.setAttribute("intercept", light.brightness * 0.5 * (1 - light.contrast));
    }
  }
  function draw() {
    tune();
    const changed = !isNeutral();
    for (const canvas of canvases()) {
      const grey = canvas.classList.contains("mapped") ? " grayscale(1)" : "";
      for (const image of canvas.querySelectorAll(".crop > img:first-child, .field > img:first-child")) {
        image.style.filter = changed ? "url(#viewer-light)" + (image.parentElement.matches(".crop") ? grey : "") : "";
      }
    }
    panel.classList.toggle("changed", changed);
    for (const input of panel.querySelectorAll("[data-light]")) {
      if (input.type === "checkbox") { input.checked = light[input.dataset.light]; } else { input.value = light[input.dataset.light]; }
      const shown = input.parentElement.querySelector("output");
      if (shown) { shown.textContent = Number(input.value).toLocaleString(document.documentElement.lang, { minimumFractionDigits: 2, maximumFractionDigits: 2 }); }
    }
  }
  function change(key, value) {
    light[key] = value;
    sessionStorage.setItem(KEPT, JSON.stringify(light));
    draw();
  }
  function reset() {
    light = Object.assign({}, NEUTRAL);
    sessionStorage.removeItem(KEPT);
    draw();
  }
  for (const input of panel.querySelectorAll("[data-light]")) {
    input.addEventListener("input", function () { change(input.dataset.light, input.type === "checkbox" ? input.checked : Number(input.value)); });
  }
  panel.querySelector("[data-light-reset]").addEventListener("click", reset);
  return {
    draw: draw, reset: reset,
    green: function () { change("green", !light.green); },
    open: function () { panel.open = !panel.open; if (panel.open) { panel.querySelector("input").focus(); } }
  };
};
