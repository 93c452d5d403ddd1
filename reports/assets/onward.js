"use strict";
// Goes from one micrograph to the next without leaving the page: what a link or form leads to is
// fetched and put in this one's place, and the pictures after it are fetched while it is looked at.
// The server answers as ever, so what it says comes next and who holds it open is its word;
// whatever is not a micrograph to review is opened as any page is.
(function () {
  const main = function () { return document.querySelector("[data-review]"); };
  let at = location.pathname + location.search;
  let busy = false;
  let ahead = [];
  const COMING_MS = 1500; // longer than this the micrograph that is decided has its picture again

  // Args: ask returns a promise of the server's answer, null where none comes; is a post or not;
  // otherwise opens what is no micrograph; comes: the next of the queue is likely to be the answer.
  async function go(ask, posted, otherwise, comes) {
    if (busy) { return; }
    busy = true;
    performance.mark("decided");
    main().setAttribute("aria-busy", "true");
    if (comes) { lookAhead(); }
    try {
      const answer = await ask();
      if (!answer) { return; }
      performance.mark("answered");
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (page.querySelector("[data-review]")) { place(page, answer.redirected || !posted ? answer.url : location.href); return; }
      if (answer.redirected) { location.assign(answer.url); return; }
    } finally {
      busy = false;
      main().removeAttribute("aria-busy");
    }
    otherwise();
  }
  function follow(url, otherwise, comes) {
    go(function () { return saving.ask(url, {}, saving.words().unreachable); }, false, otherwise, comes);
  }
  // Draws the picture that the queue has next at once, as it is decoded already; what the server says
  // comes next replaces it. No key decides until then, and the rest of the page is dimmed.
  function lookAhead() {
    const canvas = document.querySelector("[data-canvas]");
    const next = ahead[0];
    const isWhole = window.viewer && viewer.pane.view.fit && main().querySelector("#layer-crop").checked;
    if (!canvas || !next || !next.complete || !next.naturalWidth || !isWhole || canvas.parentElement.matches(".two")) { return; }
    next.className = "coming";
    next.alt = "";
    canvas.append(next);
    requestAnimationFrame(function () { setTimeout(function () { performance.measure("decided-to-picture", "decided"); }); });
    setTimeout(function () { if (next.matches(".coming") && canvas.isConnected) { next.remove(); } }, COMING_MS);
  }
  // Taking back is sent once: a second one would take back what held before.
  async function once(form, body) {
    try {
      return await fetch(form.action, { method: "POST", body: body });
    } catch (error) {
      if (!(error instanceof TypeError)) { throw error; } // as fetch names a server out of reach
      saving.show(saving.words().not_taken_back);
      document.dispatchEvent(new Event("unsent"));
      return null;
    }
  }
  function place(page, url) {
    const next = page.querySelector("[data-review]");
    take(next);
    document.title = page.title;
    document.querySelector("header.top").replaceWith(page.querySelector("header.top"));
    main().replaceWith(next);
    if (url !== location.href) { history.pushState(null, "", url); }
    at = location.pathname + location.search;
    const heading = next.querySelector("h1");
    heading.tabIndex = -1;
    document.dispatchEvent(new Event("placed"));
    heading.focus({ preventScroll: true }); // so that a screen reader begins here
    const shown = next.querySelector(".crop img");
    (shown ? shown.decode() : Promise.resolve()).catch(function () {}).then(function () {
      requestAnimationFrame(measure);
      look(); // first what is looked at
    });
  }
  function measure() {
    performance.measure("next-shown", "answered");
    performance.measure("decided-to-shown", "decided");
  }
  // What is still being fetched from the object storage is asked for again.
  function isPlaceholder(image) {
    const last = performance.getEntriesByName(image.src).at(-1);
    return Boolean(last) && last.responseStatus === 503;
  }
  // Pictures that are here already are taken along: they are decoded, and a new one would be anew.
  function take(next) {
    const here = new Map([...main().querySelectorAll("img"), ...ahead].map(function (one) { return [one.src, one]; }));
    for (const image of next.querySelectorAll("img")) {
      const one = here.get(image.src);
      if (!one || isPlaceholder(one)) { continue; }
      here.delete(image.src);
      for (const name of one.getAttributeNames()) { if (!image.hasAttribute(name)) { one.removeAttribute(name); } }
      for (const held of image.attributes) { if (held.name !== "src") { one.setAttribute(held.name, held.value); } }
      image.replaceWith(one);
    }
  }
  function look() {
    const desk = main();
    ahead = desk.dataset.prefetch.split(" ").filter(Boolean).map(function (src) {
      const image = new Image();
      image.src = src;
      return image;
    });
    const decoded = ahead.map(function (image) { return image.decode().catch(function () {}); }); // it is asked for again when it is shown
    Promise.all(decoded).then(function () { desk.dataset.ahead = ""; });
  }
  // Opens what the server says to a form that it does not take, as the page it is.
  function open(url, body) {
    const form = document.createElement("form");
    Object.assign(form, { method: "post", action: url, hidden: true });
    for (const [name, value] of body) {
      const field = document.createElement("input");
      Object.assign(field, { type: "hidden", name: name, value: value });
      form.append(field);
    }
    document.body.append(form);
    form.submit();
  }
  function asksReason(body) {
    const model = main().dataset.model;
    return model && body.get("decision") !== model && !body.get("comment");
  }
  function decide(url, body) {
    go(function () { return saving.decide(url, body); }, true, function () { open(url, body); }, !body.has("together") && !asksReason(body));
  }
  function resume() {
    const kept = saving.find();
    if (!kept) { return; }
    const form = main().querySelector("[data-decide]");
    const body = new URLSearchParams(kept.body);
    if (form && form.action === kept.url) { saving.fill(form, kept); }
    saving.show(saving.words().unsaved);
    go(function () { return saving.send(kept); }, true, function () { open(kept.url, body); });
  }

  document.addEventListener("submit", function (event) {
    const form = event.target;
    const button = event.submitter;
    if (event.defaultPrevented || !button || !main().contains(form) || form.method !== "post") { return; }
    event.preventDefault();
    const body = new URLSearchParams(new FormData(form));
    if (button.name) { body.append(button.name, button.value); }
    if (form.action.endsWith("/decide")) { decide(form.action, body); return; }
    go(function () { return once(form, body); }, true, function () { open(form.action, body); });
  });
  document.addEventListener("click", function (event) {
    const link = event.target.closest("main a[href^='/review/']");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) { return; }
    event.preventDefault();
    follow(link.href, function () { location.assign(link.href); }, link.matches("[data-next]"));
  });
  window.addEventListener("popstate", function () {
    if (at !== location.pathname + location.search) { follow(location.href, function () { location.reload(); }); }
  });
  resume();
  if (document.readyState === "complete") { look(); } else { window.addEventListener("load", look); }
}());
