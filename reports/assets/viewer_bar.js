"use strict";
// The scale bar of a picture: a round length that follows the zoom; without a scale it says so.
window.viewerBar = function (pane, words) {
  const SHARE = 0.22; // of the frame's width, at most
  const STEPS = [1, 2, 5];
  const bar = document.createElement("div");
  const line = document.createElement("i");
  const label = document.createElement("span");
  bar.className = "scale-bar";
  bar.setAttribute("role", "img");
  bar.append(label, line);
  pane.canvas.append(bar);

  function round(longest) {
    const power = Math.pow(10, Math.floor(Math.log10(longest)));
    return STEPS.map(function (step) { return step * power; }).filter(function (length) { return length <= longest * 1.0001; }).pop();
  }
  function draw() {
    const um = pane.um();
    bar.classList.toggle("unknown", !um);
    if (!um) {
      label.textContent = words.no_scale;
      bar.setAttribute("aria-label", words.no_scale);
      return;
    }
    const length = round(SHARE * pane.canvas.clientWidth * um / pane.view.scale);
    line.style.width = length / um * pane.view.scale + "px";
    label.textContent = viewerLength(length);
    bar.dataset.um = String(length);
    bar.setAttribute("aria-label", words.scale_bar.replace("{length}", label.textContent));
  }
  pane.canvas.addEventListener("viewed", draw);
};
// A length in the page's language: three digits, µm or mm.
window.viewerLength = function (um) {
  const is_mm = um >= 1000;
  const value = Number((is_mm ? um / 1000 : um).toPrecision(3));
  return value.toLocaleString(document.documentElement.lang, { maximumFractionDigits: 6 }) + (is_mm ? " mm" : " µm");
};
