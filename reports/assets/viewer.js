"use strict";
// The viewer of a page: one picture with its tools, put together anew for each micrograph. Zoom and
// place are kept from one to the next, at one physical scale where both are known.
(function () {
  const KEPT = "viewer_view";
  const ONE_TO_ONE = 1;

  function load() {
    try { return JSON.parse(sessionStorage.getItem(KEPT)); } catch (error) { return null; }
  }
  function keep(pane) {
    const of = pane.size();
    const view = pane.view;
    if (view.fit) { sessionStorage.removeItem(KEPT); return; }
    sessionStorage.setItem(KEPT, JSON.stringify({
      scale: view.scale, um: pane.um(), x: view.x / of.width, y: view.y / of.height
    }));
  }
  function resume(pane) {
    const kept = load();
    if (!kept) { pane.draw(); return; }
    const of = pane.size();
    const scale = kept.um && pane.um() ? kept.scale * pane.um() / kept.um : kept.scale;
    pane.set({ scale: scale, x: kept.x * of.width, y: kept.y * of.height });
  }
  function go(canvas, selector) {
    const link = (canvas.closest("dialog") || document).querySelector(selector);
    if (link) { link.click(); }
  }

  function begin() {
    if (window.viewer) { window.viewer.end(); }
    const canvas = document.querySelector("[data-canvas]");
    if (!canvas) { return; } // a page that opens the viewer later
    const words = JSON.parse(canvas.dataset.viewer);
    const stage = canvas.closest(".stage");
    const pane = viewerPane(canvas);
    const status = document.querySelector("[data-viewer-say]");
    const say = function (text) { if (status) { status.textContent = text; } };
    const parts = {
      pane: pane, measure: null, light: null, compare: null, overlays: null,
      toPixels: function () { pane.set({ scale: ONE_TO_ONE / window.devicePixelRatio }); },
      end: function () { pane.end(); if (parts.compare) { parts.compare.end(); } }
    };
    window.viewer = parts;
    viewerBar(pane, words);
    viewerGestures(pane, {
      isMeasuring: function () { return Boolean(parts.measure && parts.measure.isOn()); },
      mark: function (x, y) { parts.measure.mark(x, y); },
      swipe: function (onward) { go(canvas, onward ? "[data-next]" : "[data-previous]"); }
    });
    const tools = document.querySelector("[data-viewer-tools]");
    if (!tools || !stage) { pane.draw(); return; }
    tools.hidden = false;
    const share = tools.querySelector("[data-zoom-share]");
    canvas.addEventListener("viewed", function () {
      share.textContent = Math.round(100 * pane.view.scale * window.devicePixelRatio) + " %";
      keep(pane);
    });
    const acts = {
      in: function () { pane.zoom(1.25); }, out: function () { pane.zoom(0.8); },
      fit: function () { pane.fit(); }, pixels: parts.toPixels, clear: function () { parts.measure.clear(); }
    };
    for (const button of tools.querySelectorAll("[data-view]")) { button.addEventListener("click", acts[button.dataset.view]); }
    const ofNeedles = tools.querySelector("[data-needle-words]"); // absent where none are measured
    Object.assign(words, ofNeedles ? JSON.parse(ofNeedles.dataset.needleWords) : {});
    parts.needles = viewerNeedles(pane, stage, words, say, function () { parts.measure.draw(); });
    parts.measure = viewerMeasure(pane, Array.from(tools.querySelectorAll("[data-tool]")), words, say, parts.needles);
    parts.needles.load();
    const canvases = function () { return [canvas, parts.compare && parts.compare.canvas()].filter(Boolean); };
    parts.light = viewerLight(canvases, tools.querySelector("[data-light-panel]"));
    parts.overlays = viewerOverlays(stage, canvas, parts.light.draw);
    for (const layer of stage.querySelectorAll(":scope > input[name=layer]")) { layer.addEventListener("change", pane.draw); }
    resume(pane);
    parts.overlays.draw();
    parts.compare = viewerCompare(pane, stage, words, say, parts.light.draw);
    if (document.querySelector("[data-series]")) { parts.measure.choose("needle"); }
  }
  begin();
  document.addEventListener("placed", begin);
  document.addEventListener("viewer-placed", begin);
}());
