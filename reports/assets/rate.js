"use strict";
// Digits, viewing time and the next picture. Everything here also works with finger or mouse alone.
(function () {
  const desk = document.querySelector("[data-rate]");
  const form = desk.querySelector("[data-form]");

  // How long the page was before somebody's eyes, not how long it was open.
  let watched_ms = 0;
  let since_ms = document.hidden ? null : performance.now();
  function viewing_s() {
    return (watched_ms + (since_ms === null ? 0 : performance.now() - since_ms)) / 1000;
  }
  document.addEventListener("visibilitychange", function () {
    if (document.hidden) { watched_ms = viewing_s() * 1000; since_ms = null; } else { since_ms = performance.now(); }
  });

  let sent = false;
  form.addEventListener("submit", function (event) {
    if (sent) { event.preventDefault(); return; }
    form.querySelector("[data-viewing]").value = viewing_s().toFixed(1);
    sent = true;
  });
  window.addEventListener("pageshow", function (event) { if (event.persisted) { sent = false; } });

  // A digit chooses the subtype; then one chooses the size, coarse to fine. Esc asks for the subtype again.
  let within = null;
  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.repeat) { return; }
    if (event.target.tagName === "TEXTAREA") { return; }
    if (event.key === "Escape") { within = null; return; }
    if (event.key.toLowerCase() === "f") { document.querySelector("[data-canvas]").dispatchEvent(new Event("enlarge")); return; }
    const match = /^(?:Digit|Numpad)([1-9])$/.exec(event.code);
    if (!match) { return; }
    const wanted = document.getElementById(within ? within + "z" + match[1] : "s" + match[1]);
    if (!wanted) { return; }
    event.preventDefault();
    wanted.checked = true;
    wanted.focus();
    within = within ? null : wanted.parentElement.querySelector(".steps") ? wanted.id : null;
  });

  window.addEventListener("load", function () {
    if (desk.dataset.prefetch) { new Image().src = desk.dataset.prefetch; }
  });
}());
