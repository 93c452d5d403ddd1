"use strict";
// Lengths and angles on a picture, in µm where its scale is known and in px where it is not. They are
// drawn over it and belong to what is on screen alone. Only the lengths of needles are stored.
window.viewerMeasure = function (pane, buttons, words, say, needles) {
  const NEEDS = { length: 2, angle: 3, needle: 2 };
  const SVG = "http://www.w3.org/2000/svg";
  const paper = document.createElementNS(SVG, "svg");
  paper.setAttribute("class", "measures");
  pane.canvas.append(paper);
  let tool = "";
  let open = [];
  let pointer = null;
  let done = [];

  function number(value, digits) { return value.toLocaleString(document.documentElement.lang, { maximumFractionDigits: digits, minimumFractionDigits: digits }); }
  function length(points) {
    const px = Math.hypot(points[1].x - points[0].x, points[1].y - points[0].y);
    return pane.um() ? viewerLength(px * pane.um()) : number(px, 1) + " px";
  }
  function degrees(points) {
    const [a, apex, b] = points;
    const turn = Math.atan2(a.y - apex.y, a.x - apex.x) - Math.atan2(b.y - apex.y, b.x - apex.x);
    const whole = Math.abs(turn * 180 / Math.PI) % 360;
    return number(whole > 180 ? 360 - whole : whole, 1) + "°";
  }
  function text(measure) { return measure.tool === "angle" ? degrees(measure.points) : length(measure.points); }
  function add(name, given) {
    const made = document.createElementNS(SVG, name);
    for (const key of Object.keys(given)) { made.setAttribute(key, given[key]); }
    paper.append(made);
    return made;
  }
  function trace(points, label, kind) {
    const at = points.map(pane.toFrame);
    const path = at.map(function (one) { return one.x.toFixed(1) + "," + one.y.toFixed(1); }).join(" ");
    add("polyline", { points: path, class: "under" });
    add("polyline", { points: path, class: kind || "" });
    for (const one of at) { add("circle", { cx: one.x, cy: one.y, r: 3.5, class: kind || "" }); }
    if (!label) { return; }
    const anchor = at.length === 2 ? { x: (at[0].x + at[1].x) / 2, y: (at[0].y + at[1].y) / 2 } : at[1];
    add("text", { x: anchor.x, y: anchor.y - 9 }).textContent = label;
  }
  function draw() {
    paper.replaceChildren();
    const where = pane.sheet() ? pane.sheet().className : "";
    for (const measure of done) { if (measure.where === where) { trace(measure.points, text(measure)); } }
    for (const needle of needles.list()) { if (where === "crop") { trace(needle.points, length(needle.points), "needle"); } }
    if (!tool) { return; }
    const points = pointer && open.length ? open.concat([pointer]) : open;
    if (points.length) { trace(points, points.length === NEEDS[tool] ? text({ tool: tool, points: points }) : ""); }
    const cross = { x: pane.canvas.clientWidth / 2, y: pane.canvas.clientHeight / 2 };
    add("path", { class: "cross", d: "M" + (cross.x - 9) + " " + cross.y + "h18M" + cross.x + " " + (cross.y - 9) + "v18" });
  }
  function put(point) {
    open.push(point);
    pointer = null;
    if (open.length === NEEDS[tool] && tool === "needle") {
      const points = open;
      open = [];
      needles.keep(points, length(points));
    } else if (open.length === NEEDS[tool]) {
      const measure = { tool: tool, points: open, where: pane.sheet().className };
      done.push(measure);
      open = [];
      say((tool === "length" ? words.length_is : words.angle_is).replace("{value}", text(measure)));
    }
    draw();
  }
  function choose(wanted) {
    if (!buttons.some(function (button) { return button.dataset.tool === wanted; })) { return; }
    const refused = wanted === "needle" && tool !== wanted ? needles.begin() : "";
    if (refused) { say(refused); return; }
    tool = tool === wanted ? "" : wanted;
    open = [];
    pointer = null;
    pane.canvas.classList.toggle("measuring", Boolean(tool));
    pane.canvas.classList.toggle("blind", tool === "needle"); // what the program found is not shown
    for (const button of buttons) { button.setAttribute("aria-pressed", String(button.dataset.tool === tool)); }
    say(tool ? words["begin_" + tool] : "");
    draw();
  }
  pane.canvas.addEventListener("pointermove", function (event) {
    if (!tool || !open.length || event.buttons) { return; }
    pointer = pane.toFile(event.clientX, event.clientY);
    draw();
  });
  pane.canvas.addEventListener("viewed", draw);
  for (const button of buttons) { button.addEventListener("click", function () { choose(button.dataset.tool); }); }
  return {
    choose: choose,
    isOn: function () { return Boolean(tool); },
    mark: function (x, y) { put(pane.toFile(x, y)); },
    markMiddle: function () { put({ x: pane.view.x, y: pane.view.y }); },
    leave: function () { if (tool) { choose(tool); } },
    draw: draw,
    back: function () { if (open.length) { open.pop(); } else if (tool === "needle") { needles.withdraw(); } else { done.pop(); } draw(); },
    clear: function () { open = []; done = []; draw(); say(words.measures_gone); }
  };
};
