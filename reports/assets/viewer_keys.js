"use strict";
// Keys of the viewer. With Shift, so that none of them decides; + and - need none.
(function () {
  const STEP = 1.25;
  const PAN_PX = 80;
  const PANS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  const SHIFTED = {
    d: function (parts) { parts.measure.choose("length"); },
    a: function (parts) { parts.measure.choose("angle"); },
    l: function (parts) { parts.measure.choose("needle"); },
    x: function (parts) { parts.measure.clear(); },
    e: function (parts) { parts.light.open(); },
    g: function (parts) { parts.light.green(); },
    r: function (parts) { parts.light.reset(); },
    c: function (parts) { parts.compare.toggle(); },
    n: function (parts) { parts.compare.next(); }
  };
  const WHILE_MEASURING = {
    " ": function (parts) { parts.measure.markMiddle(); },
    Backspace: function (parts) { parts.measure.back(); },
    Escape: function (parts) { parts.measure.leave(); }
  };
  function find(parts, event) {
    const types = event.target.matches("input:not([type=radio]):not([type=checkbox]):not([type=range]), select, textarea") || document.querySelector("dialog[open]:not([data-viewer-dialog])");
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || types) { return null; }
    const slides = event.target.matches("input[type=range]");
    if (parts.measure && parts.measure.isOn() && WHILE_MEASURING[event.key] && !event.target.matches("button, a, summary, input")) { return WHILE_MEASURING[event.key]; }
    if (event.shiftKey && PANS[event.key] && !slides) { return function () { parts.pane.pan(PANS[event.key][0] * PAN_PX, PANS[event.key][1] * PAN_PX); }; }
    if (event.key === "+" || event.key === "=") { return function () { parts.pane.zoom(STEP); }; }
    if (event.key === "-") { return function () { parts.pane.zoom(1 / STEP); }; }
    if (event.key.toLowerCase() === "o" && !event.shiftKey) { return function () { parts.toPixels(); }; }
    const act = event.shiftKey && /^[A-Za-z]$/.test(event.key) ? SHIFTED[event.key.toLowerCase()] : null;
    return act && parts.measure && !event.repeat ? act : null;
  }
  document.addEventListener("keydown", function (event) {
    const parts = window.viewer;
    const act = parts ? find(parts, event) : null;
    if (!act) { return; }
    event.preventDefault();
    event.stopImmediatePropagation();
    act(parts);
  }, true);
}());
