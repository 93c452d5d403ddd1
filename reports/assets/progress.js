"use strict";
// Reads a page of running jobs again and puts its new content in place. Nothing is replaced while
// the page is in the background, or while one of its buttons or links has the focus. Without this
// script the page shows what was when it was opened.
(function () {
  const main = function () { return document.querySelector("main"); };
  const isUsed = function () { return document.hidden || main().contains(document.activeElement); };

  async function read() {
    const answer = await fetch(location.href);
    if (answer.redirected) { location.reload(); return; }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const next = page.querySelector("main");
    if (answer.ok && next && !isUsed()) { main().replaceWith(document.adoptNode(next)); }
  }
  async function look() {
    try {
      if (!isUsed()) { await read(); }
    } catch (error) {
      if (!(error instanceof TypeError)) { throw error; } // as fetch names a server out of reach
    }
    wait();
  }
  function wait() {
    const after_s = Number(main().dataset.refresh);
    if (after_s) { setTimeout(look, 1000 * after_s); }
  }
  wait();
}());
