"use strict";
// One picture in its frame. Positions are in pixels of the file, so that they have a physical length;
// `scale` is how many pixels of the screen one of them takes. Every change ends in an event "viewed".
window.viewerPane = function (canvas) {
  const LARGEST = 32;
  const CRISP = 4; // from here on single pixels are drawn as squares, not blurred
  const SHARP_SHARE = 1.1;
  const view = { fit: true, scale: 1, x: 0, y: 0 };
  let free = false; // may leave its frame, as when it follows another picture
  let asked = "";

  function sheet() {
    return Array.from(canvas.querySelectorAll(":scope > .crop, :scope > .field")).find(function (one) { return getComputedStyle(one).display !== "none"; }) || null;
  }
  function image() { const at = sheet(); return at ? at.querySelector("img") : null; }
  function size() {
    const shown = image();
    if (!shown) { return { width: 1, height: 1 }; }
    return {
      width: Number(shown.getAttribute("width")) || shown.naturalWidth || 1,
      height: Number(shown.getAttribute("height")) || shown.naturalHeight || 1
    };
  }
  function room() { return { width: canvas.clientWidth, height: canvas.clientHeight }; }
  function um() { return Number(canvas.dataset.umPerPx) || 0; }
  function fitScale() {
    const of = size();
    const within = room();
    return Math.min(within.width / of.width, within.height / of.height) || 1;
  }
  function smallest() { return free ? fitScale() / 8 : Math.min(fitScale(), 1); }
  function clamped(at, whole, within) {
    if (free) { return at; }
    const half = within / 2 / view.scale;
    return 2 * half >= whole ? whole / 2 : Math.min(Math.max(at, half), whole - half);
  }
  function draw() {
    const shown = sheet();
    if (!shown || !canvas.clientWidth) { return; }
    const of = size();
    const within = room();
    if (view.fit) { view.scale = fitScale(); view.x = of.width / 2; view.y = of.height / 2; }
    view.x = clamped(view.x, of.width, within.width);
    view.y = clamped(view.y, of.height, within.height);
    const left = within.width / 2 - view.x * view.scale;
    const top = within.height / 2 - view.y * view.scale;
    shown.style.width = of.width * view.scale + "px";
    shown.style.height = of.height * view.scale + "px";
    shown.style.transform = "translate(" + left + "px," + top + "px)";
    canvas.classList.toggle("zoomed", !view.fit);
    canvas.classList.toggle("crisp", view.scale >= CRISP);
    sharpen(shown);
    canvas.dispatchEvent(new CustomEvent("viewed"));
  }
  // Enlarged beyond what was sent, the picture is replaced by one with all its pixels.
  function sharpen(shown) {
    const full = canvas.dataset.full;
    const here = shown.querySelector("img");
    if (!full || asked === full || !shown.matches(".crop") || !here.naturalWidth) { return; }
    const of = size();
    const drawn = of.width * view.scale * window.devicePixelRatio;
    if (here.naturalWidth >= of.width || drawn < here.naturalWidth * SHARP_SHARE) { return; }
    asked = full;
    const better = new Image();
    better.src = full;
    better.decode().then(function () {
      if (here.isConnected && canvas.dataset.full === full) { here.src = full; }
    }).catch(function () { asked = ""; });
  }
  function set(change) {
    Object.assign(view, { fit: false }, change);
    view.scale = Math.min(Math.max(view.scale, smallest()), LARGEST);
    draw();
  }
  function fit() { view.fit = true; draw(); }
  // The point of the file under a point of the window, and back to a point of the frame.
  function toFile(x, y) {
    const box = canvas.getBoundingClientRect();
    return {
      x: view.x + (x - box.left - canvas.clientLeft - canvas.clientWidth / 2) / view.scale,
      y: view.y + (y - box.top - canvas.clientTop - canvas.clientHeight / 2) / view.scale
    };
  }
  function toFrame(point) {
    return {
      x: (point.x - view.x) * view.scale + canvas.clientWidth / 2,
      y: (point.y - view.y) * view.scale + canvas.clientHeight / 2
    };
  }
  // Enlarges so that what is under a point of the window stays under it.
  function zoomAt(factor, x, y) {
    const fixed = toFile(x, y);
    const scale = Math.min(Math.max(view.scale * factor, smallest()), LARGEST);
    if (!free && scale <= fitScale() * 1.001 && factor < 1) { fit(); return; }
    const share = view.scale / scale;
    set({ scale: scale, x: fixed.x + (view.x - fixed.x) * share, y: fixed.y + (view.y - fixed.y) * share });
  }
  function middle() {
    const box = canvas.getBoundingClientRect();
    return { x: box.left + box.width / 2, y: box.top + box.height / 2 };
  }
  function zoom(factor) { const at = middle(); zoomAt(factor, at.x, at.y); }
  function pan(dx, dy) { set({ x: view.x - dx / view.scale, y: view.y - dy / view.scale }); }

  canvas.classList.add("live");
  const whole = size();
  canvas.style.setProperty("--aspect", whole.width + " / " + whole.height);
  for (const one of canvas.querySelectorAll("img")) { one.addEventListener("load", draw); }
  const watcher = new ResizeObserver(function () { draw(); });
  watcher.observe(canvas);
  return {
    canvas: canvas, view: view, size: size, um: um, image: image, sheet: sheet, fitScale: fitScale,
    draw: draw, set: set, fit: fit, toFile: toFile, toFrame: toFrame, zoomAt: zoomAt, zoom: zoom, pan: pan, middle: middle,
    setFree: function (wanted) { free = wanted; },
    end: function () { watcher.disconnect(); }
  };
};
