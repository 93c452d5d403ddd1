"use strict";
// Keys as they are drawn, and the next picture. Everything here also works with finger or mouse alone.
(function () {
  const desk = document.querySelector("[data-rate]");
  const typed = typedKeys();

  // A key chooses the subtype; then one chooses the size, coarse to fine. Esc asks for the subtype again.
  let within = null;
  function choose(digit) {
    const place = within ? within.querySelector(".steps") : desk;
    const choices = Array.from(place.querySelectorAll(within ? "input[data-key]" : ".kind > input[data-key]"));
    const found = typed.add(digit, choices.map(function (one) { return one.dataset.key; }));
    if (!found.key) { return; }
    const choice = choices.find(function (one) { return one.dataset.key === found.key; });
    choice.checked = true;
    choice.focus();
    within = !within && choice.parentElement.querySelector(".steps") ? choice.parentElement : null;
  }
  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.repeat) { return; }
    if (event.target.tagName === "TEXTAREA") { return; }
    if (event.key === "Escape") { within = null; typed.clear(); return; }
    if (event.key.toLowerCase() === "f") { document.querySelector("[data-canvas]").dispatchEvent(new Event("enlarge")); return; }
    const digit = digitOf(event);
    if (!digit || desk.dataset.ready === undefined) { return; }
    event.preventDefault();
    choose(digit);
  });
  readyWhenShown(desk);

  window.addEventListener("load", function () {
    if (desk.dataset.prefetch) { new Image().src = desk.dataset.prefetch; }
  });
}());
