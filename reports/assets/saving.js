"use strict";
// Keeps a decision until the server has answered it: while no answer comes it is sent again under
// the same id, by which the server counts it once, also from this tab's next page after a reload.
(function () {
  const KEPT = "decision";
  const LONGEST_WAIT_MS = 8000;
  const NO_ANSWER_MS = 20000;
  const page = function () { return document.querySelector("[data-saving]"); };
  const words = function () { return JSON.parse(page().dataset.saving); };

  function show(text) {
    const place = document.querySelector("[data-unsaved]");
    place.hidden = !text;
    place.querySelector("span").textContent = text;
  }
  function newId() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return Array.from(bytes, function (byte) { return byte.toString(16).padStart(2, "0"); }).join("");
  }
  function pause(ms) {
    return new Promise(function (wake) {
      setTimeout(wake, ms);
      window.addEventListener("online", wake, { once: true });
    });
  }
  // Asks until the server answers; what it answers with 5xx it has not done.
  async function ask(url, sent, waiting) {
    let wait_ms = 500;
    while (true) {
      try {
        const limit = AbortSignal.timeout ? { signal: AbortSignal.timeout(NO_ANSWER_MS) } : {}; // not in browsers before 2022
        const answer = await fetch(url, Object.assign(limit, sent));
        if (answer.status < 500) { show(""); return answer; }
      } catch (error) {
        if (!(error instanceof TypeError) && error.name !== "TimeoutError") { throw error; } // as fetch names a server out of reach
      }
      show(waiting);
      await pause(wait_ms);
      wait_ms = Math.min(2 * wait_ms, LONGEST_WAIT_MS);
    }
  }
  function hasLeftForLogin(answer) { return new URL(answer.url).pathname === "/login"; }

  // Sends a decision; resolves with the answer of the server.
  async function decide(url, body) {
    body.append("decision_id", newId());
    body.append("reviewer", page().dataset.reviewer || ""); // another may use this browser when it is sent again
    const kept = { url: url, body: body.toString(), reviewer: page().dataset.reviewer };
    sessionStorage.setItem(KEPT, JSON.stringify(kept));
    return send(kept);
  }
  async function send(kept) {
    const sent = { method: "POST", body: new URLSearchParams(kept.body) };
    const answer = await ask(kept.url, sent, words().unsaved);
    if (!hasLeftForLogin(answer) && answer.status !== 403) { sessionStorage.removeItem(KEPT); }
    return answer;
  }
  // Returns what was kept on an earlier page of this tab and is for this reviewer to send, or null.
  function find() {
    const kept = JSON.parse(sessionStorage.getItem(KEPT));
    if (!kept) { return null; }
    if (kept.reviewer === page().dataset.reviewer) { return kept; }
    show(words().of_another.replace("{who}", kept.reviewer));
    return null;
  }
  function fill(form, kept) {
    for (const [name, value] of new URLSearchParams(kept.body)) {
      const field = form.elements[name];
      if (name === "comment" || name === "by") { if (field) { field.value = value; } }
      if (name === "criterion") { field.value = value; }
      if (name === "unsure" || name === "together") { if (field) { field.checked = true; } }
    }
  }
  window.saving = { newId: newId, ask: ask, decide: decide, send: send, find: find, fill: fill, words: words, show: show };

  // The queue has no form to go on from: it sends what was kept, and is read again.
  if (document.querySelector("[data-queue]")) {
    const kept = find();
    if (kept) { show(words().unsaved); send(kept).then(function (answer) { location.assign(answer.url); }); }
  }
}());
