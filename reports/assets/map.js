"use strict";
// The map: up to 50 000 points on a canvas; drag, wheel, pinch and keys move it, a lasso selects.
(function () {
  const page = document.querySelector("[data-map]");
  const canvas = page.querySelector("[data-canvas]");
  if (!canvas) { return; }
  const GRID = 4095;
  const CELLS = 64;            // cells a side of the index that hovering looks points up in
  const REACH_PX = 12;
  const MOST_ZOOM = 400;
  const words = JSON.parse(page.dataset.words);
  const most = Number(page.dataset.most);
  const plot = page.querySelector("[data-plot]");
  const say = page.querySelector("[data-say]");
  const hover = page.querySelector("[data-hover]");
  const pick = page.querySelector("[data-colour]");
  const open = page.querySelector("[data-open]");
  const lassoButton = page.querySelector("[data-act=lasso]");
  const context = canvas.getContext("2d");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const view = { x: 0.5, y: 0.5, zoom: 1 };
  const pointers = new Map();
  let ids = [];
  let xs = new Float32Array(0);
  let ys = new Float32Array(0);
  let groups = {};             // colouring -> Uint8Array of each point's group
  let counts = {};             // colouring -> how many groups
  let order = new Uint32Array(0); // points by group, so that the colour changes seldom
  let cells = [];
  let selected = new Uint8Array(0);
  let path = null;             // the lasso while it is drawn, in pixels of the canvas
  let due = false;
  let image = null;            // the pixels of the canvas
  let inks = new Uint32Array(0); // the colour of each group
  let spread = null;

  function colourOf(group, of) {
    if (group === of - 1) { return dark.matches ? "#7d8790" : "#9aa3ab"; }
    const hue = Math.round(group * 360 / Math.max(of - 1, 1) + 210) % 360;
    const steps = dark.matches ? [62, 76] : [36, 50];
    return "hsl(" + hue + " 70% " + steps[group % 2] + "%)";
  }
  function side() { return Math.min(canvas.clientWidth, canvas.clientHeight) * 0.94 * view.zoom; }
  function toScreenX(x) { return canvas.clientWidth / 2 + (x - view.x) * side(); }
  function toScreenY(y) { return canvas.clientHeight / 2 + (y - view.y) * side(); }
  function toMapX(px) { return view.x + (px - canvas.clientWidth / 2) / side(); }
  function toMapY(px) { return view.y + (px - canvas.clientHeight / 2) / side(); }
  function ask() { if (!due) { due = true; window.requestAnimationFrame(draw); } }

  // Pixels are written directly: a canvas call for each of 50 000 points takes ten times as long.
  function draw() {
    due = false;
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * ratio);
    const height = Math.round(canvas.clientHeight * ratio);
    if (!width || !height) { return; }
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; image = null; }
    image = image || context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    pixels.fill(0);
    const of = groups[pick.value];
    const size = Math.round(ratio * Math.min(7, Math.max(2, 90 / Math.sqrt(ids.length) * Math.sqrt(view.zoom))));
    const length = side() * ratio;
    const startX = width / 2 - view.x * length - size / 2;
    const startY = height / 2 - view.y * length - size / 2;
    for (let k = 0; k < order.length; k += 1) {
      const point = order[k];
      const x = Math.round(startX + xs[point] * length);
      const y = Math.round(startY + ys[point] * length);
      if (x < 0 || y < 0 || x + size > width || y + size > height) { continue; }
      const ink = inks[of[point]];
      for (let row = y; row < y + size; row += 1) {
        const at = row * width + x;
        for (let column = at; column < at + size; column += 1) { pixels[column] = ink; }
      }
    }
    context.putImageData(image, 0, 0);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.strokeStyle = window.getComputedStyle(canvas).color;
    context.lineWidth = 1.5;
    const reach = size / ratio + 2;
    for (let point = 0; point < selected.length; point += 1) {
      if (selected[point]) { context.strokeRect(toScreenX(xs[point]) - reach / 2, toScreenY(ys[point]) - reach / 2, reach, reach); }
    }
    if (path && path.length > 1) {
      context.beginPath();
      context.moveTo(path[0][0], path[0][1]);
      for (const place of path) { context.lineTo(place[0], place[1]); }
      context.closePath();
      context.stroke();
    }
  }
  // The colours of the groups as pixels.
  function mixInks() {
    const one = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    inks = Uint32Array.from({ length: counts[pick.value] }, function (_, group) {
      one.fillStyle = colourOf(group, counts[pick.value]);
      one.fillRect(0, 0, 1, 1);
      return new Uint32Array(one.getImageData(0, 0, 1, 1).data.buffer)[0];
    });
  }

  function sortByGroup() {
    const of = groups[pick.value];
    const starts = new Uint32Array(counts[pick.value] + 1);
    for (const group of of) { starts[group + 1] += 1; }
    for (let n = 1; n < starts.length; n += 1) { starts[n] += starts[n - 1]; }
    order = new Uint32Array(ids.length);
    for (let point = 0; point < of.length; point += 1) { order[starts[of[point]]] = point; starts[of[point]] += 1; }
    order.reverse();           // what has no value is drawn first
    mixInks();
    for (const table of page.querySelectorAll("[data-groups]")) {
      if (table.dataset.groups === pick.value) { table.open = true; }
      for (const dot of table.querySelectorAll("[data-dot]")) { dot.style.background = colourOf(Number(dot.dataset.dot), counts[table.dataset.groups]); }
    }
    ask();
  }
  function cellOf(value) { return Math.min(CELLS - 1, Math.max(0, Math.floor(value * CELLS))); }
  function index() {
    cells = Array.from({ length: CELLS * CELLS }, function () { return []; });
    for (let point = 0; point < ids.length; point += 1) { cells[cellOf(ys[point]) * CELLS + cellOf(xs[point])].push(point); }
  }
  function nearest(px, py) {
    const reach = REACH_PX / side();
    const x = toMapX(px);
    const y = toMapY(py);
    let best = -1;
    let least = reach * reach;
    for (let row = cellOf(y - reach); row <= cellOf(y + reach); row += 1) {
      for (let column = cellOf(x - reach); column <= cellOf(x + reach); column += 1) {
        for (const point of cells[row * CELLS + column] || []) {
          const far = (xs[point] - x) ** 2 + (ys[point] - y) ** 2;
          if (far < least) { least = far; best = point; }
        }
      }
    }
    return best;
  }

  // Selection ------------------------------------------------------------------------------------
  function isInside(place, x, y) {
    let inside = false;
    for (let a = 0, b = place.length - 1; a < place.length; b = a, a += 1) {
      const [ax, ay] = place[a];
      const [bx, by] = place[b];
      if ((ay > y) !== (by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax) { inside = !inside; }
    }
    return inside;
  }
  function select(test) {
    const chosen = [];
    for (let point = 0; point < ids.length; point += 1) {
      selected[point] = test(toScreenX(xs[point]), toScreenY(ys[point])) ? 1 : 0;
      if (selected[point]) { chosen.push(point); }
    }
    if (chosen.length > most) {
      const x = chosen.reduce(function (sum, point) { return sum + xs[point]; }, 0) / chosen.length;
      const y = chosen.reduce(function (sum, point) { return sum + ys[point]; }, 0) / chosen.length;
      chosen.sort(function (a, b) { return (xs[a] - x) ** 2 + (ys[a] - y) ** 2 - (xs[b] - x) ** 2 - (ys[b] - y) ** 2; });
      say.textContent = words.too_many.replace("{n}", String(chosen.length)).replace("{most}", String(most));
    } else {
      say.textContent = chosen.length ? words.selected.replace("{n}", String(chosen.length)) : words.none;
    }
    open.elements.ids.value = chosen.slice(0, most).map(function (point) { return ids[point]; }).join(",");
    open.querySelector("button").disabled = !chosen.length;
    ask();
  }

  // Moving ---------------------------------------------------------------------------------------
  function zoomAt(factor, px, py) {
    const [x, y] = [toMapX(px), toMapY(py)];
    view.zoom = Math.min(MOST_ZOOM, Math.max(0.5, view.zoom * factor));
    view.x += x - toMapX(px);
    view.y += y - toMapY(py);
    hover.hidden = true;
    ask();
  }
  function pan(dx, dy) { view.x -= dx / side(); view.y -= dy / side(); hover.hidden = true; ask(); }
  function fit() { Object.assign(view, { x: 0.5, y: 0.5, zoom: 1 }); ask(); }
  function here(event) {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }
  function middle() { return [canvas.clientWidth / 2, canvas.clientHeight / 2]; }

  canvas.addEventListener("wheel", function (event) {
    event.preventDefault();
    const step = event.deltaMode === 1 ? event.deltaY * 33 : event.deltaY;
    zoomAt(Math.exp(-step * (event.ctrlKey ? 0.01 : 0.002)), ...here(event));
  }, { passive: false });
  canvas.addEventListener("pointerdown", function (event) {
    if (event.button) { return; }
    pointers.set(event.pointerId, here(event));
    canvas.setPointerCapture(event.pointerId);
    if (pointers.size === 1 && (event.shiftKey || lassoButton.getAttribute("aria-pressed") === "true")) { path = [here(event)]; }
    if (pointers.size === 2) { path = null; const [a, b] = Array.from(pointers.values()); spread = Math.hypot(a[0] - b[0], a[1] - b[1]); }
    hover.hidden = true;
  });
  canvas.addEventListener("pointermove", function (event) {
    const before = pointers.get(event.pointerId);
    const now = here(event);
    if (!before) { show(now); return; }
    pointers.set(event.pointerId, now);
    if (path) { path.push(now); ask(); return; }
    if (pointers.size === 2) {
      const [a, b] = Array.from(pointers.values());
      const is = Math.hypot(a[0] - b[0], a[1] - b[1]);
      zoomAt(is / Math.max(spread, 1), (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
      spread = is;
      return;
    }
    pan(now[0] - before[0], now[1] - before[1]);
  });
  function lift(event) {
    pointers.delete(event.pointerId);
    if (!path) { return; }
    const drawn = path;
    path = null;
    if (event.type === "pointerup" && drawn.length > 2) { select(function (x, y) { return isInside(drawn, x, y); }); }
    ask();
  }
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("pointerleave", function () { hover.hidden = true; });
  canvas.addEventListener("click", function (event) {
    if (event.shiftKey || lassoButton.getAttribute("aria-pressed") === "true") { return; }
    const point = nearest(...here(event));
    if (point >= 0 && event.detail === 2) { window.location.href = "/review/" + ids[point]; }
  });
  function show(now) {
    const point = nearest(...now);
    if (point < 0) { hover.hidden = true; return; }
    if (hover.hidden || hover.dataset.id !== ids[point]) {
      hover.dataset.id = ids[point];
      hover.querySelector("img").src = "/pictures/" + ids[point] + "/thumb.jpg";
      const option = pick.selectedOptions[0].textContent;
      const row = page.querySelector("[data-groups='" + pick.value + "'] [data-dot='" + groups[pick.value][point] + "']");
      hover.querySelector("span").textContent = option + ": " + row.closest("tr").children[1].textContent;
    }
    hover.style.left = Math.min(now[0] + 14, canvas.clientWidth - 190) + "px";
    hover.style.top = Math.min(now[1] + 14, canvas.clientHeight - 170) + "px";
    hover.hidden = false;
  }
  canvas.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey) { return; }
    const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    if (moves[event.key]) { event.preventDefault(); pan(...moves[event.key]); }
    if (event.key === "+" || event.key === "=") { event.preventDefault(); zoomAt(1.4, ...middle()); }
    if (event.key === "-") { event.preventDefault(); zoomAt(1 / 1.4, ...middle()); }
    if (event.key === "0") { event.preventDefault(); fit(); }
  });
  const acts = {
    in: function () { zoomAt(1.4, ...middle()); },
    out: function () { zoomAt(1 / 1.4, ...middle()); },
    fit: fit,
    visible: function () { select(function (x, y) { return x >= 0 && y >= 0 && x <= canvas.clientWidth && y <= canvas.clientHeight; }); },
    lasso: function () {
      const on = lassoButton.getAttribute("aria-pressed") !== "true";
      lassoButton.setAttribute("aria-pressed", String(on));
      plot.classList.toggle("lasso", on);
    },
  };
  for (const button of page.querySelectorAll("[data-act]")) { button.addEventListener("click", function () { acts[button.dataset.act](); }); }
  pick.addEventListener("change", sortByGroup);
  dark.addEventListener("change", sortByGroup);
  new ResizeObserver(ask).observe(canvas);

  fetch("/api/v1/map").then(function (answer) {
    if (!answer.ok) { throw new Error(String(answer.status)); }
    return answer.json();
  }).then(function (points) {
    ids = points.id;
    xs = Float32Array.from(points.x, function (x) { return x / GRID; });
    ys = Float32Array.from(points.y, function (y) { return y / GRID; });
    selected = new Uint8Array(ids.length);
    for (const colour of points.colours) { groups[colour.name] = Uint8Array.from(colour.of); counts[colour.name] = colour.groups.length; }
    for (const part of page.querySelectorAll("[data-tools], [data-plot], [data-keys]")) { part.hidden = false; }
    index();
    sortByGroup();
    page.dataset.ready = "1";
  }).catch(function () {
    page.querySelector("[data-tools]").hidden = false;
    say.textContent = words.unreachable;
  });
}());
