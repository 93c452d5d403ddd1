"use strict";
// Needles that the reviewer measures on the crop: two clicks keep a length on the server, one undoes
// it. Only the reviewer's are shown, and of the program nothing while they are measured.
window.viewerNeedles = function (pane, stage, words, say, changed) {
  const url = pane.canvas.dataset.needles;
  const counts = document.querySelectorAll("[data-needle-count]");
  const onward = document.querySelector("[data-needle-wanted]");
  const undo = stage.querySelector("[data-needle-undo]");
  let kept = [];
  let after = Promise.resolve(); // one request after another, so that an undo finds what it undoes

  function who() {
    const field = document.querySelector("form [name=by]");
    return pane.canvas.dataset.reviewer || (field ? field.value.trim() : "");
  }
  function show() {
    for (const count of counts) { count.textContent = kept.length || (count.closest("button") ? "" : "0"); }
    if (onward) { onward.classList.toggle("is-ready", kept.length >= Number(onward.dataset.needleWanted)); }
    changed();
  }
  async function ask(address, body) {
    const sent = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    const answer = await fetch(address, sent);
    const found = await answer.json();
    if (!answer.ok) { throw new RangeError(found.detail); }
    return found;
  }
  function inTurn(act) {
    after = after.then(act).catch(function (error) {
      if (!(error instanceof TypeError || error instanceof RangeError || error instanceof SyntaxError)) { throw error; }
      say(error instanceof RangeError ? error.message : words.unreachable); // fetch and a log-in page fail otherwise
    }).then(show);
    return after;
  }
  function toNeedle(found) {
    const [id, x0, y0, x1, y1] = found;
    return { id: id, points: [{ x: x0, y: y0 }, { x: x1, y: y1 }] };
  }
  function text(sentence, value) { return sentence.replace("{value}", value).replace("{n}", kept.length); }
  function keep(points, length) {
    const [start, end] = points.map(function (one) { return [one.x, one.y]; });
    const needle = { points: points };
    kept.push(needle); // drawn at once
    return inTurn(async function () {
      try {
        needle.id = (await ask(url, { by: who(), start: start, end: end })).id;
      } catch (error) {
        kept = kept.filter(function (one) { return one !== needle; });
        throw error;
      }
      say(text(words.needle_is, length));
    });
  }
  function withdraw() {
    return inTurn(async function () {
      const last = kept[kept.length - 1];
      if (!last) { say(words.needle_none); return; }
      await ask(url + "/" + last.id + "/withdraw", { by: who() });
      kept.pop();
      say(text(words.needle_gone, ""));
    });
  }
  if (undo) { undo.addEventListener("click", withdraw); }
  return {
    list: function () { return kept; },
    keep: keep,
    withdraw: withdraw,
    load: function () {
      kept = JSON.parse(pane.canvas.dataset.kept || "[]").map(toNeedle);
      show();
    },
    // Returns why no needle can be measured, "" where one can; then the crop is shown.
    begin: function () {
      if (!url || !pane.um()) { return words.needle_no_scale; }
      if (!who()) { return words.needle_no_name; }
      const crop = stage.querySelector(":scope > #layer-crop");
      if (crop && !crop.checked) { crop.click(); }
      return "";
    }
  };
};
