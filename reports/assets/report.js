"use strict";
// Finding, sorting, opening cards and enlarging pictures. Without it the page still says everything.
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
      for (const print of document.querySelectorAll("[data-of]")) {
        const card = document.getElementById(print.dataset.of);
        const thing = card && card.closest("[data-text]");
        print.hidden = Boolean(thing && thing.hidden);
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
  const cards = Array.from(document.querySelectorAll("details.card"));
  function show(card) {
    card.open = true;
    card.querySelector("summary").focus({ preventScroll: true });
    card.scrollIntoView({ block: "start" });
  }
  function follow() {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const closed = target && target.closest("details");
    if (closed && closed.classList.contains("card")) { show(closed); } else if (closed) { closed.open = true; target.scrollIntoView(); }
  }
  addEventListener("hashchange", follow);
  follow();
  const all = document.querySelector("[data-open-all]");
  if (all) {
    const open = all.textContent;
    all.closest("[hidden]").hidden = false;
    all.addEventListener("click", function () {
      const opens = cards.some(function (card) { return !card.open; });
      for (const card of cards) { card.open = opens; }
      all.textContent = opens ? all.dataset.close : open;
    });
  }
  document.addEventListener("keydown", function (event) {
    if (!cards.length || event.ctrlKey || event.altKey || event.metaKey || event.target.closest("input, textarea, select")) { return; }
    const shown = cards.filter(function (card) { return !card.hidden; });
    const here = shown.indexOf(document.activeElement.closest("details.card"));
    const key = event.key.toLowerCase();
    if (key === "j" && here + 1 < shown.length) { show(shown[here + 1]); }
    if (key === "k" && here > 0) { show(shown[here - 1]); }
    if (key === "o" && here >= 0) { shown[here].open = !shown[here].open; }
  });
  for (const picture of document.querySelectorAll(".pictures figure img")) {
    const enlarge = function () {
      picture.setAttribute("aria-expanded", String(picture.closest("figure").classList.toggle("large")));
    };
    picture.tabIndex = 0;
    picture.setAttribute("role", "button");
    picture.setAttribute("aria-expanded", "false");
    picture.addEventListener("click", enlarge);
    picture.addEventListener("keydown", function (event) {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); enlarge(); }
    });
  }
  const agent = document.body.dataset.agent;
  if (agent && /^https?:$/.test(location.protocol)) {
    // Served by the agent: its other pages are at the address that this one came from.
    for (const link of document.links) {
      const address = link.getAttribute("href");
      if (address.startsWith(agent + "/")) { link.setAttribute("href", address.slice(agent.length)); }
    }
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
