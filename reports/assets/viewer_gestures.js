"use strict";
// Wheel, pinch and drag on a picture; a swipe over one that is not enlarged goes on and never decides.
window.viewerGestures = function (pane, acts) {
  const CLICK_PX = 4;
  const SWIPE_PX = 60;
  const LINE_PX = 33;
  const ENLARGED = 2.5;
  const canvas = pane.canvas;
  const fingers = new Map();
  let moved_px = 0;
  let began = null;
  let pinched = false;
  let clicked = false; // enlarged by a click, so that the next one shows the whole again

  canvas.addEventListener("wheel", function (event) {
    event.preventDefault();
    const step = event.deltaMode === 1 ? event.deltaY * LINE_PX : event.deltaY;
    clicked = false;
    pane.zoomAt(Math.exp(-step * (event.ctrlKey ? 0.01 : 0.002)), event.clientX, event.clientY);
  }, { passive: false });

  function spread() {
    const [one, two] = Array.from(fingers.values());
    return { px: Math.hypot(one.x - two.x, one.y - two.y) || 1, x: (one.x + two.x) / 2, y: (one.y + two.y) / 2 };
  }
  canvas.addEventListener("pointerdown", function (event) {
    if (event.button) { return; }
    if (!fingers.size) { moved_px = 0; pinched = false; began = { x: event.clientX, y: event.clientY }; }
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (fingers.size > 1) { pinched = true; }
    try { canvas.setPointerCapture(event.pointerId); } catch (error) { if (error.name !== "NotFoundError") { throw error; } } // lifted already
  });
  canvas.addEventListener("pointermove", function (event) {
    const before = fingers.get(event.pointerId);
    if (!before) { return; }
    const dx = event.clientX - before.x;
    const dy = event.clientY - before.y;
    moved_px += Math.abs(dx) + Math.abs(dy);
    if (fingers.size === 2) {
      const was = spread();
      fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      const is = spread();
      pane.zoomAt(is.px / was.px, is.x, is.y);
      if (!pane.view.fit) { pane.pan(is.x - was.x, is.y - was.y); }
      return;
    }
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (!pane.view.fit && moved_px > CLICK_PX) { clicked = false; pane.pan(dx, dy); }
  });
  function lift(event) {
    if (!fingers.delete(event.pointerId) || fingers.size || event.type === "pointercancel") { return; }
    const dx = event.clientX - began.x;
    const dy = event.clientY - began.y;
    const swipes = event.pointerType !== "mouse" && !pinched && pane.view.fit && !acts.isMeasuring();
    if (swipes && Math.abs(dx) > SWIPE_PX && Math.abs(dx) > 2 * Math.abs(dy)) { acts.swipe(dx < 0); }
  }
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);

  function enlarge(x, y) {
    clicked = pane.view.fit;
    if (clicked) { pane.zoomAt(ENLARGED, x, y); } else { pane.fit(); }
  }
  canvas.addEventListener("click", function (event) {
    if (moved_px > CLICK_PX || pinched || event.target.closest("button, a")) { return; }
    if (acts.isMeasuring()) { acts.mark(event.clientX, event.clientY); return; }
    if (pane.view.fit || clicked) { enlarge(event.clientX, event.clientY); }
  });
  canvas.addEventListener("enlarge", function () { const at = pane.middle(); enlarge(at.x, at.y); });
  canvas.addEventListener("dragstart", function (event) { event.preventDefault(); });
};
