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

  async function go(url, sent, otherwise) {
    if (busy) { return; }
    busy = true;
    main().setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(url, sent);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (page.querySelector("[data-review]")) { place(page, answer.redirected || !sent ? answer.url : location.href); return; }
      if (answer.redirected) { location.assign(answer.url); return; }
    } catch (error) {
      if (!(error instanceof TypeError)) { throw error; } // fetch's word for a server out of reach
    } finally {
      busy = false;
      main().removeAttribute("aria-busy");
    }
    otherwise();
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
    (shown ? shown.decode() : Promise.resolve()).catch(function () {}).then(look); // first what is looked at
  }
  // Pictures that are here already are taken along: they are decoded, and a new one would be anew.
  function take(next) {
    const here = new Map([...main().querySelectorAll("img"), ...ahead].map(function (one) { return [one.src, one]; }));
    for (const image of next.querySelectorAll("img")) {
      const one = here.get(image.src);
      if (!one) { continue; }
      here.delete(image.src);
      for (const name of one.getAttributeNames()) { if (!image.hasAttribute(name)) { one.removeAttribute(name); } }
      for (const held of image.attributes) { if (held.name !== "src") { one.setAttribute(held.name, held.value); } }
      image.replaceWith(one);
    }
  }
  function look() {
    ahead = main().dataset.prefetch.split(" ").filter(Boolean).map(function (src) {
      const image = new Image();
      image.src = src;
      image.decode().catch(function () {}); // it is asked for again when it is shown
      return image;
    });
  }
  function send(form, button) {
    const chosen = document.createElement("input");
    Object.assign(chosen, { type: "hidden", name: button.name, value: button.value });
    if (button.name) { form.append(chosen); }
    form.submit();
  }

  document.addEventListener("submit", function (event) {
    const form = event.target;
    const button = event.submitter;
    if (event.defaultPrevented || !button || !main().contains(form) || form.method !== "post") { return; }
    event.preventDefault();
    const body = new URLSearchParams(new FormData(form));
    if (button.name) { body.append(button.name, button.value); }
    go(form.action, { method: "POST", body: body }, function () { send(form, button); });
  });
  document.addEventListener("click", function (event) {
    const link = event.target.closest("main a[href^='/review/']");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) { return; }
    event.preventDefault();
    go(link.href, undefined, function () { location.assign(link.href); });
  });
  window.addEventListener("popstate", function () {
    if (at !== location.pathname + location.search) { go(location.href, undefined, function () { location.reload(); }); }
  });
  if (document.readyState === "complete") { look(); } else { window.addEventListener("load", look); }
}());
