"use strict";
// A line over the scale bar: its ends are drawn by pointer or moved by the arrow keys, and stand in
// the form in pixels of the file. The server computes the scale; what is shown here is for the eye.
(function () {
  const MOST_ZOOM = 8;
  const drawing = document.querySelector("[data-drawing]");
  if (!drawing) { return; }
  const paper = drawing.querySelector("[data-paper]");
  const image = paper.querySelector("img");
  const lines = paper.querySelectorAll("line");
  const result = document.querySelector("[data-result]");
  const form = result.closest("form");
  const width = Number(image.getAttribute("width"));
  const height = Number(image.getAttribute("height"));
  let zoom = 1;

  function at(end) { return [Number(form.elements[end + "_x"].value), Number(form.elements[end + "_y"].value)]; }
  function put(end, x, y) {
    form.elements[end + "_x"].value = Math.min(Math.max(x, 0), width).toFixed(1);
    form.elements[end + "_y"].value = Math.min(Math.max(y, 0), height).toFixed(1);
    draw();
  }
  function draw() {
    const from = at("from");
    const to = at("to");
    for (const line of lines) {
      line.setAttribute("x1", from[0]); line.setAttribute("y1", from[1]);
      line.setAttribute("x2", to[0]); line.setAttribute("y2", to[1]);
    }
    for (const button of paper.querySelectorAll("[data-end]")) {
      const point = at(button.dataset.end);
      button.style.left = 100 * point[0] / width + "%";
      button.style.top = 100 * point[1] / height + "%";
    }
    const px = Math.hypot(to[0] - from[0], to[1] - from[1]);
    const um = Number(form.elements.length_um.value.replace(",", ".")) * (form.elements.unit.value === "mm" ? 1000 : 1);
    result.textContent = px && um > 0 ? result.dataset.words.replace("{px}", px.toFixed(1)).replace("{um}", (um / px).toPrecision(4)) : "";
  }
  function place(event) {
    const box = image.getBoundingClientRect();
    return [(event.clientX - box.left) * width / box.width, (event.clientY - box.top) * height / box.height];
  }
  // At zoom 1 the whole micrograph is in view, so that the bar at its foot is.
  function fit() {
    const room = Math.max(window.innerHeight * 0.5, 240);
    const whole_px = Math.min(drawing.clientWidth, room * width / height);
    paper.style.width = whole_px * zoom + "px";
  }
  function enlarge(by) {
    const box = drawing.getBoundingClientRect();
    const middle = [(at("from")[0] + at("to")[0]) / 2 / width, (at("from")[1] + at("to")[1]) / 2 / height];
    zoom = Math.min(Math.max(zoom * by, 1), MOST_ZOOM);
    fit();
    drawing.scrollTo(middle[0] * paper.clientWidth - box.width / 2, middle[1] * paper.clientHeight - box.height / 2);
  }

  let moved = null;
  paper.addEventListener("pointerdown", function (event) {
    if (event.button) { return; }
    event.preventDefault();
    const end = event.target.closest("[data-end]");
    moved = end ? end.dataset.end : "to";
    if (end) { end.focus(); } else { const from = place(event); put("from", from[0], from[1]); put("to", from[0], from[1]); drawing.focus({ preventScroll: true }); }
    paper.setPointerCapture(event.pointerId);
  });
  paper.addEventListener("pointermove", function (event) {
    if (!moved) { return; }
    const point = place(event);
    put(moved, point[0], point[1]);
  });
  for (const name of ["pointerup", "pointercancel"]) { paper.addEventListener(name, function () { moved = null; }); }

  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  drawing.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.altKey || event.metaKey) { return; }
    const end = event.target.closest("[data-end]");
    const step = STEPS[event.key];
    if (step && end) {
      event.preventDefault();
      const px = event.shiftKey ? 10 : 1;
      const point = at(end.dataset.end);
      put(end.dataset.end, point[0] + px * step[0], point[1] + px * step[1]);
    }
    if (event.key === "+" || event.key === "-") { event.preventDefault(); enlarge(event.key === "+" ? 1.5 : 1 / 1.5); }
  });
  form.addEventListener("input", draw);
  window.addEventListener("resize", fit);
  fit();
  draw();
}());
