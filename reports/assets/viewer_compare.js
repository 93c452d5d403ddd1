"use strict";
// A second picture next to the micrograph: a field of its specimen, a reference image, a chart plate.
// Both zoom and pan together, at one physical scale where both scales are known.
window.viewerCompare = function (pane, stage, words, say, changed) {
  const views = pane.canvas.parentElement;
  const bar = stage.querySelector("[data-compare-bar]");
  const choice = bar.querySelector("select");
  const note = bar.querySelector("[data-compare-note]");
  const button = stage.querySelector("[data-compare]");
  const KEPT = "viewer_compare";
  let groups = null;
  let second = null;
  let busy = false;

  function pictures() { return groups.flatMap(function (group) { return group.pictures; }); }
  async function load() {
    if (groups) { return; }
    const answer = await fetch(pane.canvas.dataset.companions);
    if (!answer.ok) { throw new TypeError(answer.statusText); }
    groups = (await answer.json()).groups;
    let number = 0;
    for (const group of groups) {
      const part = document.createElement("optgroup");
      part.label = group.title;
      for (const one of group.pictures) { part.append(new Option(one.title, String(number))); number += 1; }
      choice.append(part);
    }
  }
  function unit(one, other) { return one.um() && other.um() ? { one: one.um(), other: other.um() } : { one: 1, other: 1 }; }
  // Puts one view where the other is: the same length on screen, the same distance from the middle.
  function follow(from, to) {
    if (busy || !second) { return; }
    busy = true;
    const per = unit(from, to);
    const of = from.size();
    const other = to.size();
    to.set({
      scale: from.view.scale * per.other / per.one,
      x: other.width / 2 + (from.view.x - of.width / 2) * per.one / per.other,
      y: other.height / 2 + (from.view.y - of.height / 2) * per.one / per.other
    });
    busy = false;
  }
  function show(one) {
    close();
    const canvas = document.createElement("div");
    canvas.className = "canvas beside";
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "group");
    canvas.setAttribute("aria-label", one.title);
    if (one.um_per_px) { canvas.dataset.umPerPx = one.um_per_px; }
    const sheet = document.createElement("div");
    sheet.className = "crop";
    const image = new Image();
    image.alt = one.title;
    if (one.width) { image.width = one.width; image.height = one.height; }
    image.src = one.src;
    sheet.append(image);
    canvas.append(sheet);
    views.append(canvas);
    views.classList.add("two");
    second = viewerPane(canvas);
    second.setFree(true);
    pane.setFree(true);
    viewerBar(second, words);
    viewerGestures(second, { isMeasuring: function () { return false; }, mark: function () {}, swipe: function () {} });
    pane.canvas.addEventListener("viewed", forth);
    canvas.addEventListener("viewed", back);
    image.addEventListener("error", function () { note.textContent = words.no_picture; });
    image.addEventListener("load", forth);
    note.textContent = pane.um() && second.um() ? words.one_scale : words.no_common_scale;
    pane.draw();
    changed();
  }
  function forth() { follow(pane, second); }
  function back() { if (second && !busy && !second.view.fit) { follow(second, pane); } }
  function close() {
    if (!second) { return; }
    pane.canvas.removeEventListener("viewed", forth);
    second.end();
    second.canvas.remove();
    second = null;
    pane.setFree(false);
    views.classList.remove("two");
    pane.draw();
  }
  function choose(number) {
    const one = pictures()[number];
    if (!one) { return; }
    choice.value = String(number);
    sessionStorage.setItem(KEPT, one.title);
    show(one);
  }
  async function open() {
    try { await load(); } catch (error) { if (!(error instanceof TypeError)) { throw error; } say(words.unreachable); return; }
    if (!pane.canvas.isConnected) { return; } // the next micrograph has come
    if (!pictures().length) { say(words.none_to_compare); return; }
    bar.hidden = false;
    button.setAttribute("aria-pressed", "true");
    const kept = pictures().findIndex(function (one) { return one.title === sessionStorage.getItem(KEPT); });
    choose(Math.max(kept, 0));
  }
  function toggle() {
    if (!bar.hidden) { bar.hidden = true; button.setAttribute("aria-pressed", "false"); sessionStorage.removeItem(KEPT); close(); return; }
    sessionStorage.setItem(KEPT, "");
    open();
  }
  button.addEventListener("click", toggle);
  choice.addEventListener("change", function () { choose(Number(choice.value)); });
  if (sessionStorage.getItem(KEPT) !== null) { open(); }
  return {
    toggle: toggle, canvas: function () { return second ? second.canvas : null; },
    next: function () { if (second) { choose((Number(choice.value) + 1) % pictures().length); } else { toggle(); } },
    end: function () { if (second) { second.end(); } }
  };
};
