"use strict";
// Keys and looking ahead. Everything here also works with the mouse alone.
(function () {
  const queue = document.querySelector("[data-queue]");
  let desk = document.querySelector("[data-review]");
  let words = {};

  function typing(target) {
    if (target.isContentEditable || target.tagName === "TEXTAREA" || target.tagName === "SELECT") { return true; }
    return target.tagName === "INPUT" && !["radio", "checkbox", "button", "submit", "range"].includes(target.type);
  }
  function undo() {
    const button = document.querySelector("[data-undo]");
    if (button) { button.click(); } else { say(words.nothing_to_undo); }
  }
  function say(text) {
    const place = document.querySelector("[data-say]");
    if (place) { place.textContent = text; }
  }
  function go(selector) {
    const link = document.querySelector(selector);
    if (link) { link.click(); }
  }

  if (queue) {
    document.addEventListener("keydown", function (event) {
      if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || typing(event.target)) { return; }
      if (event.key === "Enter" && !event.target.closest("a, button")) { go("[data-start]"); }
      if (event.key.toLowerCase() === "j") { go("[data-start]"); }
      if (event.key.toLowerCase() === "z") { undo(); }
    });
  }
  if (!desk) { return; }

  let form, subtypes, lists, layers, canvas, dialog;
  let open = null;
  let unexplained = null; // the code that waits for its reason
  const typed = typedKeys();

  function close() {
    typed.clear();
    for (const row of subtypes) { row.classList.remove("open"); }
    for (const list of lists) { list.open = false; }
    open = null;
    unexplained = null;
    say("");
  }
  function press(button) {
    if (!button) { return; }
    const name = desk.querySelector("#by");
    if (name && !name.value.trim()) { name.focus(); say(words.name_first); return; }
    if (button.name && form && form.comment.required && !form.comment.value.trim()) { list("r"); say(words.why_first); return; }
    button.click();
  }
  // A lab may require a reason where the model is corrected; confirming it needs none.
  function needsReason(button) {
    const model = desk.dataset.model;
    return model && button.value.startsWith("code:") && button.value !== model && !form.comment.value.trim();
  }
  function explain() {
    const button = unexplained;
    close();
    button.click();
  }
  function choose(digit) {
    const choices = open ? Array.from(open.querySelectorAll("button[data-key]")) : subtypes;
    const found = typed.add(digit, choices.map(function (one) { return one.dataset.key; }));
    if (found.typed) { say(words.second_digit.replace("{key}", found.typed)); return; }
    if (found.wrong) { say(words.no_such_key.replace("{key}", found.wrong)); return; }
    const choice = choices.find(function (one) { return one.dataset.key === found.key; });
    if (open) { press(choice); return; }
    subtype(choice);
  }
  function subtype(choice) {
    const sizes = choice.querySelectorAll("button");
    if (sizes.length === 1) { press(sizes[0]); return; }
    close();
    choice.classList.add("open");
    open = choice;
    say(words.now_size);
  }
  function list(key) {
    const wanted = lists.find(function (one) { return one.dataset.list === key; });
    const again = open === wanted;
    close();
    if (wanted && !again) { wanted.open = true; open = wanted; reveal(wanted); }
  }
  // Only the panel scrolls, so that the micrograph stays where it is.
  function reveal(wanted) {
    const panel = wanted.closest(".decide");
    const box = wanted.getBoundingClientRect();
    const room = panel.getBoundingClientRect();
    const below = box.bottom - Math.min(room.bottom, window.innerHeight);
    panel.scrollTop += Math.min(Math.max(0, below), box.top - room.top);
  }
  function show(word) {
    const layer = layers.find(function (one) { return one.value === word; });
    if (layer && !layer.checked) { layer.click(); }
  }
  function whole() { show(current() === "field" ? "crop" : "field"); }
  function current() { return layers.find(function (one) { return one.checked; }).value; }
  function heat() {
    show("crop");
    if (window.viewer && viewer.overlays) { viewer.overlays.cycle(); }
  }
  function criterion() {
    const all = Array.from(form.querySelectorAll("input[name=criterion]"));
    const at = all.findIndex(function (one) { return one.checked; });
    const next = all[(at + 1) % all.length];
    next.checked = true;
    say(words.criterion + " " + next.parentElement.textContent.trim());
  }
  function unsure() {
    const box = form.querySelector("[data-unsure]");
    box.checked = !box.checked;
    say(box.checked ? words.unsure : words.sure);
  }
  function together() {
    const box = desk.querySelector("[data-together]");
    if (!box) { say(words.no_other); return; }
    box.checked = !box.checked;
    say(box.checked ? box.parentElement.textContent.trim().replace(/ A$/, ".") : words.alone);
  }
  function unsaved() { return !document.querySelector("[data-unsaved]").hidden; }

  const keys = {
    s: function () { list("s"); },
    u: function () { list("u"); },
    r: function () { list("r"); },
    t: function () { press(desk.querySelector("[data-cannot]")); },
    a: together,
    v: function () { go("[data-blind]"); },
    l: function () { go("[data-give-scale]"); },
    m: criterion,
    c: criterion,
    n: unsure,
    z: undo,
    j: function () { go("[data-next]"); },
    k: function () { go("[data-previous]"); },
    arrowright: function () { go("[data-next]"); },
    arrowleft: function () { go("[data-previous]"); },
    h: heat,
    b: whole,
    w: whole,
    f: function () { if (canvas) { canvas.dispatchEvent(new Event("enlarge")); } },
    "?": function () { dialog.showModal(); },
    escape: close
  };
  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.repeat) { return; }
    if (event.key === "Enter" && event.target.id === "by" && event.target.value.trim()) {
      event.preventDefault(); // the name is said: the next Enter confirms
      const heading = desk.querySelector("h1");
      heading.tabIndex = -1;
      heading.focus({ preventScroll: true });
      say(words.named.replace("{name}", event.target.value.trim()));
      return;
    }
    if (event.key === "Enter" && event.target.id === "comment" && unexplained && event.target.value.trim()) { event.preventDefault(); explain(); return; }
    if (typing(event.target) || dialog.open) { return; }
    if (event.key.startsWith("Arrow") && event.target.tagName === "INPUT") { return; }
    const digit = digitOf(event);
    const letter = event.key.toLowerCase();
    const own = subtypes.find(function (one) { return one.dataset.letter && one.dataset.letter === letter; });
    const early = desk.dataset.ready === undefined || desk.hasAttribute("aria-busy");
    if (early && (digit || own || event.key === "Enter" || letter === "t")) {
      event.preventDefault();
      if (!unsaved()) { say(words.just_come); }
      return;
    }
    if (digit) { event.preventDefault(); choose(digit); return; }
    if (event.key === "Enter") {
      if (event.target.closest("a, button, summary")) { return; }
      event.preventDefault();
      press(open ? null : desk.querySelector("[data-confirm]"));
      return;
    }
    if (own) { event.preventDefault(); subtype(own); return; }
    const act = keys[letter];
    if (act) { event.preventDefault(); act(); }
  });

  // Once for every micrograph that is put before the reviewer.
  function begin() {
    desk = document.querySelector("[data-review]");
    words = JSON.parse(desk.dataset.words);
    form = desk.querySelector("[data-decide]");
    subtypes = Array.from(desk.querySelectorAll("[data-subtype]"));
    lists = Array.from(desk.querySelectorAll("[data-list]"));
    layers = Array.from(desk.querySelectorAll(".stage > input[name=layer]"));
    canvas = desk.querySelector("[data-canvas]");
    dialog = desk.querySelector("[data-keys]");
    open = null;
    typed.clear();
    readyWhenShown(desk);
    for (const one of lists) {
      one.addEventListener("toggle", function () { typed.clear(); if (one.open) { open = one; } else if (open === one) { open = null; } });
    }
    for (const why of desk.querySelectorAll("[data-why]")) {
      why.addEventListener("click", function () {
        form.comment.value = why.querySelector("span").textContent;
        if (unexplained) { explain(); } else { close(); }
      });
    }
    if (form) {
      form.addEventListener("click", function (event) {
        const button = event.target.closest("button[name=decision]");
        if (!button || !needsReason(button)) { return; }
        event.preventDefault();
        if (!open || open.dataset.list !== "r") { list("r"); }
        unexplained = button;
        say(words.why_model);
      });
    }
    const help = desk.querySelector("[data-help]");
    help.hidden = false;
    help.addEventListener("click", function () { dialog.showModal(); });
    const now = desk.querySelector(".strip [aria-current]");
    if (now) { now.scrollIntoView({ block: "nearest", inline: "nearest" }); window.scrollTo(0, 0); }
  }
  begin();
  document.addEventListener("placed", begin);
}());
