"use strict";
// Digits and the next picture. Everything here also works with finger or mouse alone.
(function () {
  const desk = document.querySelector("[data-rate]");

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
