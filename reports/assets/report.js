"use strict";
// Finding and sorting. Without it the page still says everything.
(function () {
  const find = document.querySelector("[data-find]");
  const found = document.querySelector("[data-found]");
  const things = Array.from(document.querySelectorAll("[data-text]"));
  if (find && things.length) {
    find.closest("[hidden]").hidden = false;
    find.addEventListener("input", function () {
      const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const thing of things) {
        const text = thing.dataset.text.toLowerCase();
        const fits = words.every(function (word) { return text.includes(word); });
        thing.hidden = !fits;
        shown += fits ? 1 : 0;
      }
      found.textContent = words.length ? found.dataset.found.replace("{n}", shown).replace("{of}", things.length) : "";
    });
  }
  for (const table of document.querySelectorAll("table[data-sort]")) {
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach(function (head, column) {
      if (!head.textContent.trim() || head.hasAttribute("data-fixed")) { return; }
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", function () {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const body = table.tBodies[0];
        const value = function (row) { const cell = row.cells[column]; return cell.dataset.v || cell.textContent.trim(); };
        const rows = Array.from(body.rows).sort(function (a, b) {
          return value(a).localeCompare(value(b), document.documentElement.lang, { numeric: true }) * (down ? -1 : 1);
        });
        body.append.apply(body, rows);
      });
    });
  }
  const written = document.querySelector("[data-newest]");
  if (written) {
    const days = Math.floor((Date.now() / 1000 - Number(written.dataset.newest)) / 86400);
    if (days >= 1) {
      written.hidden = false;
      written.textContent = days === 1 ? written.dataset.day : written.dataset.days.replace("{n}", days);
    }
  }
}());
