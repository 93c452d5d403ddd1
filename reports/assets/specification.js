"use strict";
// Checks a specification while it is written: the server's own check, put below the form. Without
// this script the button "Check" does the same.
(function () {
  const form = document.querySelector("[data-spec]");
  const preview = document.querySelector("#preview");
  let timer = 0, isAsked = false, isAgain = false;

  async function check() {
    if (isAsked) { isAgain = true; return; }
    isAsked = true;
    const sent = new URLSearchParams(new FormData(form));
    sent.delete("password");
    sent.set("act", "check");
    try {
      const answer = await fetch(form.action, { method: "POST", body: sent });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const next = page.querySelector("#preview");
      if (answer.ok && next) { preview.replaceChildren(...document.adoptNode(next).childNodes); preview.hidden = false; }
    } catch (error) {
      if (!(error instanceof TypeError)) { throw error; } // as fetch names a server out of reach
    }
    isAsked = false;
    if (isAgain) { isAgain = false; check(); }
  }
  if (!form) { return; }
  form.addEventListener("input", function (event) {
    if (event.target.closest(".sign")) { return; }
    clearTimeout(timer);
    timer = setTimeout(check, 400);
  });
}());
