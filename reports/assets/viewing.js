"use strict";
// How long the page was before somebody's eyes, not how long it was open; and no form is sent twice.
(function () {
  let watched_ms = 0;
  let since_ms = null;
  let sent = false;
  function viewing_s() {
    return (watched_ms + (since_ms === null ? 0 : performance.now() - since_ms)) / 1000;
  }
  document.addEventListener("visibilitychange", function () {
    if (document.hidden) { watched_ms = viewing_s() * 1000; since_ms = null; } else { since_ms = performance.now(); }
  });

  function begin() {
    watched_ms = 0;
    since_ms = document.hidden ? null : performance.now();
    sent = false;
    for (const form of document.querySelectorAll("main form[method=post]")) {
      form.addEventListener("submit", function (event) {
        if (sent) { event.preventDefault(); return; }
        const field = form.querySelector("[data-viewing]");
        if (field) { field.value = viewing_s().toFixed(1); }
        sent = true;
      });
    }
  }
  begin();
  document.addEventListener("placed", begin);
  document.addEventListener("unsent", function () { sent = false; });
  window.addEventListener("pageshow", function (event) { if (event.persisted) { sent = false; } });
}());
