"use strict";
// One order: marks a field as seen once it was on screen, and answers by key. Without this script the
// boxes "seen" and the lists of codes do the same.
(function () {
  const SEEN_SHARE = 0.6;
  const ZOOM = 1.25;
  const main = document.querySelector("[data-confirm-order]");
  const lookMs = Number(main.dataset.lookS) * 1000;
  const words = JSON.parse(main.dataset.words);
  const form = main.querySelector("[data-answers]");
  const plates = Array.from(main.querySelectorAll("[data-open]"));
  const subtypes = Array.from(main.querySelectorAll("[data-subtype]"));
  const typed = typedKeys();
  let current = plates[0] || null;
  let open = null;
  let sent = false;
  const reasons = main.querySelector("[data-reasons]");
  let asks = false; // the next digit is a reason

  function say(text) {
    const place = main.querySelector("[data-say]");
    if (place) { place.textContent = text; }
  }
  function seen(plate) { return plate.querySelector("[data-seen]"); }
  function answer(plate) { return plate.querySelector("[data-answer]"); }
  function name(plate) { return plate.dataset.name.charAt(0).toUpperCase() + plate.dataset.name.slice(1); }
  function count() {
    const n = plates.filter(function (plate) { return seen(plate).checked; }).length;
    say(n === plates.length ? words.ready.replace("{n}", String(n)) : words.seen.replace("{n}", String(n)).replace("{of}", String(plates.length)));
  }

  // --- what was on screen ---
  // A flagged field has two parts: its picture, and why it is flagged. Each has to be looked at.
  const waits = new Map(); // part of a plate that is in view → its timer
  function wasLooked(part) { return "looked" in part.dataset; }
  // What lies over the page at its edges hides a field as the end of the screen does.
  function covered(selector, position) {
    const part = main.querySelector(selector);
    return part && getComputedStyle(part).position === position ? part.getBoundingClientRect().height : 0;
  }
  const above = covered(".bar", "sticky");
  const below = Math.max(covered(".go-on", "fixed"), covered(".toast", "fixed"));
  function parts(plate) { return Array.from(plate.querySelectorAll("[data-look]")); }
  function isShown(entry) {
    const most = (window.innerHeight - above - below) * SEEN_SHARE;
    return entry.intersectionRatio >= SEEN_SHARE || entry.intersectionRect.height >= most;
  }
  function look(part) {
    const images = Array.from(part.querySelectorAll("img"));
    Promise.all(images.map(function (image) { return image.decode(); })).catch(function () {
      return part.querySelector("[data-map]") ? Promise.reject(new Error("no map")) : null; // without its map it is not seen
    }).then(function () {
      if (!waits.has(part) || document.hidden) { return; }
      waits.set(part, setTimeout(function () {
        const plate = part.closest("[data-open]");
        part.dataset.looked = "";
        watcher.unobserve(part);
        if (!parts(plate).every(wasLooked)) { return; }
        seen(plate).checked = true;
        plate.classList.add("was-seen");
        count();
      }, lookMs));
    }, function () {});
  }
  function forget(part) {
    clearTimeout(waits.get(part));
    waits.delete(part);
  }
  const watcher = new IntersectionObserver(function (entries) {
    for (const entry of entries) {
      if (!isShown(entry)) { forget(entry.target); } else if (!waits.has(entry.target)) { waits.set(entry.target, 0); look(entry.target); }
    }
  }, { threshold: [0, 0.25, 0.5, SEEN_SHARE, 0.75, 1], rootMargin: "-" + Math.ceil(above) + "px 0px -" + Math.ceil(below) + "px 0px" });
  function watch() {
    for (const plate of plates) {
      for (const part of parts(plate)) {
        forget(part);
        watcher.unobserve(part);
        if (!seen(plate).checked && !wasLooked(part)) { watcher.observe(part); }
      }
    }
  }
  document.addEventListener("visibilitychange", function () {
    if (document.hidden) { Array.from(waits.keys()).forEach(forget); } else { watch(); }
  });

  // --- one physical scale ---
  const images = Array.from(main.querySelectorAll("img[data-width]"));
  let zoom = 1;
  function draw() {
    for (const image of images) { image.width = Math.round(Number(image.dataset.width) * zoom); image.removeAttribute("height"); }
    const shown = main.querySelector("[data-scale]");
    if (shown) { shown.closest("p").classList.toggle("zoomed", zoom !== 1); }
  }
  function enlarge(by) { zoom = Math.min(5, Math.max(0.5, zoom * by)); draw(); }
  function fit() { // two or three in a row use a wide screen
    const row = main.querySelector(".plates ul");
    const widest = Math.max.apply(null, images.map(function (one) { return Number(one.dataset.width); }));
    if (!row || !images.length) { return; }
    const beside = Math.max(1, Math.min(row.children.length, Math.floor((row.clientWidth + 14) / (widest + 18))));
    const room = row.clientWidth / beside - 18;
    const tall = (window.innerHeight * 0.62) / Math.max.apply(null, images.map(function (one) { return Number(one.getAttribute("height")) || 1; }));
    zoom = Math.max(0.5, Math.min(room / widest, Math.max(1, tall)));
    draw();
  }

  // --- answers ---
  function choose(plate, focus) {
    for (const one of plates) { one.classList.toggle("current", one === plate); }
    current = plate;
    close();
    if (focus && plate) { plate.focus({ preventScroll: true }); plate.scrollIntoView({ block: "nearest" }); }
  }
  function close() {
    typed.clear();
    asks = false;
    for (const row of subtypes) { row.classList.remove("open"); }
    open = null;
  }
  function step(by) {
    if (!plates.length) { say(words.none); return; }
    const at = plates.indexOf(current);
    choose(plates[(at + by + plates.length) % plates.length], true);
  }
  function changed(plate) {
    const select = answer(plate);
    plate.classList.toggle("changed", select.selectedIndex > 0);
    plate.querySelector("[data-code]").textContent = select.value.replace("code:", "") || "?";
    const keeps = plate.querySelector("[data-keeps]");
    if (keeps) { keeps.hidden = select.selectedIndex > 0; }
  }
  function set(value) {
    const select = answer(current);
    if (!Array.from(select.options).some(function (one) { return one.value === value; })) { say(words.no_change.replace("{name}", name(current))); close(); return; }
    select.value = value;
    changed(current);
    close();
    say(words.changed.replace("{name}", name(current)).replace("{code}", value.replace("code:", "")));
  }
  function begin(row) {
    if (!current) { say(words.none); return; }
    const sizes = row.querySelectorAll("[data-value]");
    close();
    if (sizes.length === 1) { set(sizes[0].dataset.value); return; }
    row.classList.add("open");
    open = row;
    say(words.now_size.replace("{name}", name(current)));
  }
  // A lab may require a reason where the model is corrected; confirming it needs none.
  function lacksReason() {
    return reasons && !reasons.querySelector("[data-own-reason]").value.trim() && plates.some(function (plate) {
      return answer(plate).selectedIndex > 0 && answer(plate).options[0].value;
    });
  }
  function digit(key) {
    if (asks) {
      const reason = reasons.querySelector("button[data-key='" + key + "']");
      if (reason) { form.requestSubmit(reason); } else { say(words.no_such_key.replace("{key}", key)); }
      return;
    }
    const choices = open ? Array.from(open.querySelectorAll("[data-value]")) : subtypes;
    const found = typed.add(key, choices.map(function (one) { return one.dataset.key || one.dataset.subtype; }));
    if (found.typed) { say(words.second_digit.replace("{key}", found.typed)); return; }
    if (found.wrong) { say(words.no_such_key.replace("{key}", found.wrong)); return; }
    const choice = choices.find(function (one) { return (one.dataset.key || one.dataset.subtype) === found.key; });
    if (open) { set(choice.dataset.value); } else { begin(choice); }
  }
  function confirm() {
    if (sent) { return; }
    if (!plates.length) { const next = main.querySelector("[data-next]"); if (next) { next.click(); } return; }
    const by = main.querySelector("#by");
    if (by && !by.value.trim()) { by.focus(); say(words.name_first); return; }
    const unseen = plates.find(function (plate) { return !seen(plate).checked; });
    if (unseen) {
      choose(unseen, false);
      (parts(unseen).find(function (part) { return !wasLooked(part); }) || unseen).scrollIntoView({ block: "center" });
      say(words.look_first.replace("{name}", name(unseen)));
      return;
    }
    const empty = plates.find(function (plate) { return !answer(plate).value; });
    if (empty) { choose(empty, true); say(words.answer_first.replace("{name}", name(empty))); return; }
    if (lacksReason()) {
      asks = reasons.open = true;
      reasons.scrollIntoView({ block: "nearest" });
      say(words.why_model);
      return;
    }
    form.requestSubmit(form.querySelector("[data-confirm]"));
  }
  form.addEventListener("submit", function (event) {
    if (event.defaultPrevented) { return; }
    form.elements.decision_id.value = saving.newId(); // sent again, as by a reload, it counts once
    sent = true;
    main.setAttribute("aria-busy", "true");
  });
  const button = form.querySelector("[data-confirm]");
  if (button) {
    button.addEventListener("click", function (event) {
      if (event.isTrusted) { event.preventDefault(); confirm(); } // a click asks the same as Enter
    });
  }

  // --- keys ---
  function criterion() {
    const all = Array.from(form.querySelectorAll("input[name=criterion]"));
    if (!all.length) { return; }
    const at = all.findIndex(function (one) { return one.checked; });
    const next = all[(at + 1) % all.length];
    next.checked = true;
    say(words.criterion + " " + next.parentElement.textContent.trim());
  }
  function press(selector) {
    const found = main.querySelector(selector);
    if (found) { found.click(); }
  }
  const keys = {
    arrowleft: function () { step(-1); }, arrowright: function () { step(1); },
    k: function () { step(-1); }, j: function () { step(1); },
    o: function () { if (current) { current.querySelector("[data-alone]").click(); } },
    c: criterion, z: function () { press("[data-undo]"); }, n: function () { press("[data-next]"); }, d: function () { press("[data-desk]"); },
    "+": function () { enlarge(ZOOM); }, "=": function () { enlarge(ZOOM); }, "-": function () { enlarge(1 / ZOOM); },
    escape: function () { close(); count(); }
  };
  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.repeat) { return; }
    const field = event.target.matches("input:not([type=checkbox]):not([type=radio]), select, textarea");
    if (field) {
      if (event.key === "Enter" && event.target.matches("[data-own-reason]")) { event.preventDefault(); event.target.blur(); confirm(); }
      if (event.key === "Enter" && event.target.id === "by") { event.preventDefault(); event.target.blur(); confirm(); }
      return;
    }
    if (event.key.startsWith("Arrow") && event.target.matches("input")) { return; }
    const key = digitOf(event);
    if (key) { event.preventDefault(); digit(key); return; }
    if (event.key === "Enter") {
      if (event.target.closest("a, summary, button:not([data-confirm])")) { return; }
      event.preventDefault();
      confirm();
      return;
    }
    const letter = event.key.toLowerCase();
    const row = subtypes.find(function (one) { return one.dataset.letter && one.dataset.letter === letter; });
    if (row) { event.preventDefault(); begin(row); return; }
    if (keys[letter]) { event.preventDefault(); keys[letter](); }
  });
  for (const plate of plates) {
    plate.addEventListener("pointerdown", function () { choose(plate, false); });
    plate.addEventListener("focusin", function () { if (current !== plate) { choose(plate, false); } });
    if (answer(plate).selectedIndex > 0) { changed(plate); }
    answer(plate).addEventListener("change", function () { changed(plate); });
    seen(plate).addEventListener("change", count);
  }
  for (const one of main.querySelectorAll("[data-zoom]")) {
    one.addEventListener("click", function () { enlarge(one.dataset.zoom === "1" ? ZOOM : 1 / ZOOM); });
  }
  for (const hidden of main.querySelectorAll("[data-zoom-buttons], [data-keys-line]")) { hidden.hidden = false; }
  fit();
  choose(current, false);
  watch();
  if (plates.length) { count(); }
  window.addEventListener("load", function () {
    for (const src of main.dataset.prefetch.split(" ").filter(Boolean)) { new Image().src = src; }
  });
  window.addEventListener("pageshow", function (event) { if (event.persisted) { sent = false; main.removeAttribute("aria-busy"); } });
}());
