"use strict";
// Selecting many micrographs by pointer and keys. Everything here also works with its check boxes.
(function () {
  const page = document.querySelector("[data-archive]");
  const words = JSON.parse(page.dataset.words);
  const say = page.querySelector("[data-say]");
  const items = Array.from(page.querySelectorAll("[data-item]"));
  const narrow = window.matchMedia("(max-width: 54rem)");
  let anchor = 0;

  function closeFacets() {
    for (const facet of page.querySelectorAll("[data-facet]")) { facet.open = !narrow.matches && (facet.open || facet.matches(".facet")); }
  }
  closeFacets();
  narrow.addEventListener("change", closeFacets);
  if (!items.length) { return; }

  function mark(item) { return item.querySelector("[data-mark]"); }
  function link(item) { return item.querySelector("a"); }
  function count() { return items.filter(function (item) { return mark(item).checked; }).length; }
  const every = page.querySelector("[data-every]");
  function takesEvery() { return Boolean(every && every.checked); }
  function told() {
    const n = count();
    say.textContent = takesEvery() ? words.every : words.selected.replace("{n}", String(n));
    page.classList.toggle("marking", n > 0 || takesEvery());
  }
  function range(to, on) {
    const from = Math.min(anchor, to);
    for (let n = from; n <= Math.max(anchor, to); n += 1) { mark(items[n]).checked = on; }
  }
  function all(on) { for (const item of items) { mark(item).checked = on; } told(); }
  // How many micrographs a row of the grid has.
  function across() {
    const top = items[0].offsetTop;
    const next = items.findIndex(function (item) { return item.offsetTop > top; });
    return next < 0 ? items.length : next;
  }

  items.forEach(function (item, n) {
    mark(item).addEventListener("click", function (event) {
      if (event.shiftKey) { range(n, mark(item).checked); }
      anchor = n;
      told();
    });
    link(item).addEventListener("click", function (event) {
      if (!event.shiftKey && !event.ctrlKey && !event.metaKey) { return; }
      event.preventDefault();  // as in a file manager, instead of another window
      if (event.shiftKey) { range(n, true); } else { mark(item).checked = !mark(item).checked; anchor = n; }
      told();
    });
  });

  const moves = { ArrowLeft: -1, ArrowRight: 1, h: -1, l: 1 };
  document.addEventListener("keydown", function (event) {
    if (event.altKey || event.isComposing || event.target.closest("input:not([type=checkbox]), textarea, select")) { return; }
    const here = items.indexOf(event.target.closest("[data-item]"));
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "a") { event.preventDefault(); all(true); return; }
    if (event.ctrlKey || event.metaKey) { return; }
    if (event.key === "Escape" && count()) { event.preventDefault(); all(false); return; }
    const rows = { ArrowUp: -across(), ArrowDown: across(), k: -across(), j: across() };
    const step = moves[event.key] || rows[event.key];
    if (step) {
      const to = here < 0 ? 0 : here + step;
      if (to < 0 || to >= items.length) { return; }
      event.preventDefault();
      if (event.shiftKey) { range(to, true); told(); } else { anchor = to; }
      link(items[to]).focus();
      items[to].scrollIntoView({ block: "nearest" });
      return;
    }
    if (event.key === " " && here >= 0 && event.target.matches("a")) {
      event.preventDefault();
      if (event.shiftKey) { range(here, true); } else { mark(items[here]).checked = !mark(items[here]).checked; anchor = here; }
      told();
    }
  });

  const form = page.querySelector("#bulk");
  form.addEventListener("submit", function (event) {
    if (!event.submitter || !("needsMarks" in event.submitter.dataset)) { return; }
    const act = event.submitter.closest(".act");
    const empty = Array.from(act.querySelectorAll("[data-needed]")).find(function (one) { return !one.value.trim(); });
    const mayTakeEvery = Boolean(act.querySelector("[data-needed]"));
    if (!count() && !(mayTakeEvery && takesEvery())) {
      event.preventDefault();
      say.textContent = words.none;
    } else if (empty) {
      event.preventDefault();
      empty.focus();
      say.textContent = words.needed;
    }
  });
  // Enter in a field of one act sends that act, not the first button of the form.
  form.addEventListener("keydown", function (event) {
    const act = event.key === "Enter" && event.target.closest(".act");
    if (act && event.target.matches("input")) { event.preventDefault(); act.querySelector("button").click(); }
  });
  const selectAll = page.querySelector("[data-all]");
  selectAll.hidden = false;
  selectAll.addEventListener("click", function () { all(true); });
  if (every) { every.addEventListener("change", told); }
  page.querySelector("[data-keys-line]").hidden = false;
  if (count()) { told(); }  // a browser that goes back has kept the boxes
}());
