"use strict";
// Keys of the order desk, and finding while typing. Everything here also works with links and forms.
(function () {
  const board = document.querySelector("[data-board]");
  const words = JSON.parse(board.dataset.words);
  const cards = Array.from(board.querySelectorAll("[data-card]"));
  const find = board.querySelector("[data-find]");
  const status = board.querySelector("[data-say]");

  function say(text) { if (status) { status.textContent = text; } }
  function link(card) { return card.querySelector("a.go"); }
  function shown() { return cards.filter(function (card) { return !card.hidden; }); }
  function marks() { return Array.from(board.querySelectorAll("[data-mark]:checked")); }
  function told() { say(words.marked.replace("{n}", String(marks().length))); }

  // The nearest card in a direction: by its middle, sideways distance counting double.
  function step(across, down) {
    const from = document.activeElement.closest("[data-card]");
    const all = shown();
    if (!from) { if (all.length) { link(all[0]).focus(); } return; }
    const here = from.getBoundingClientRect();
    let best = null;
    let least = Infinity;
    for (const card of all) {
      const box = card.getBoundingClientRect();
      const x = (box.left + box.width / 2) - (here.left + here.width / 2);
      const y = (box.top + box.height / 2) - (here.top + here.height / 2);
      const along = across ? x * across : y * down;
      const aside = Math.abs(across ? y : x);
      if (card === from || along < 4 || (down && aside > here.width / 2)) { continue; }
      const far = along + 2 * aside;
      if (far < least) { least = far; best = card; }
    }
    if (best) { link(best).focus(); link(best).scrollIntoView({ block: "nearest" }); }
  }
  function seek() {
    const wanted = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const card of cards) {
      const text = card.textContent.toLowerCase();
      card.hidden = !wanted.every(function (word) { return text.includes(word); });
    }
    say(words.shown.replace("{n}", String(shown().length)).replace("{of}", String(cards.length)));
  }

  const moves = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0], k: [0, -1], j: [0, 1] };
  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) { return; }
    const types = event.target.matches("input:not([type=checkbox]), select, textarea");
    if (types) {
      if (event.key === "Escape" && event.target === find) { find.value = ""; seek(); find.blur(); }
      if (event.key === "ArrowDown" && event.target === find) { event.preventDefault(); find.blur(); step(0, 1); }
      return;
    }
    if (moves[event.key]) { event.preventDefault(); step(moves[event.key][0], moves[event.key][1]); return; }
    if (event.key === "Enter" && !event.target.closest("a, button, summary, input")) {
      const start = board.querySelector("[data-start]") || (shown()[0] && link(shown()[0]));
      if (start) { event.preventDefault(); start.click(); }
      return;
    }
    if (event.key === "/" && find) { event.preventDefault(); find.focus(); find.select(); return; }
    if (event.key.toLowerCase() === "z") {
      const undo = board.querySelector("[data-undo]");
      if (undo && !event.repeat) { undo.click(); }
      return;
    }
    const card = event.target.closest("[data-card]");
    if (event.key === " " && card && event.target.matches("a")) {
      const mark = card.querySelector("[data-mark]");
      if (mark) { event.preventDefault(); mark.checked = !mark.checked; told(); }
    }
  });
  for (const mark of board.querySelectorAll("[data-mark]")) { mark.addEventListener("change", told); }
  const bulk = board.querySelector("#bulk");
  if (bulk) {
    bulk.addEventListener("submit", function (event) {
      if (!marks().length) { event.preventDefault(); say(words.none_marked); }
    });
  }
  if (find) { find.addEventListener("input", seek); }
  const line = board.querySelector("[data-keys-line]");
  if (line) { line.hidden = false; }
  // The desk is read again every 30 s, unless somebody works on it.
  setInterval(function () {
    const busy = document.activeElement && document.activeElement !== document.body;
    if (!document.hidden && !busy && !marks().length && !(find && find.value)) { location.reload(); }
  }, 30000);
}());
