"use strict";
// The dashboard's numbers follow the lab: a stream of events tells when they changed, and where the
// stream is refused they are asked for every 30 s. Numbers that may be old are hidden.
(function () {
  const ASK_MS = 30000;
  const SILENT_MS = 15000;
  const GRACE_MS = 4000;
  const LOOK_MS = 2000;
  const main = document.querySelector("[data-today]");
  const words = JSON.parse(main.dataset.words);
  const figures = main.querySelector("[data-figures]");
  const state = main.querySelector("[data-state]");
  const lost = main.querySelector("[data-lost]");
  const login = main.querySelector("[data-login]");
  const show = main.querySelector("[data-show]");
  let version = main.dataset.version;
  let at = main.dataset.at;
  let heardMs = performance.now();
  let stream = null;
  let asks = false;
  let loading = false;

  function fill(text) { return text.replace("{at}", at); }
  function silentMs() { return performance.now() - heardMs; }

  function alive(clock) {
    at = clock;
    heardMs = performance.now();
    main.dataset.live = asks ? "asks" : "yes";
    lost.hidden = true;
    figures.hidden = false;
    state.textContent = fill(asks ? words.asks : words.live);
  }

  function hide(name) {
    if (main.dataset.live === name) { return; }
    main.dataset.live = name;
    lost.querySelector("[data-lost-text]").textContent = fill(words[name]);
    login.hidden = name !== "out";
    show.hidden = name === "out";
    lost.hidden = false;
    figures.hidden = true;
    state.textContent = "";
  }

  // The link that had the focus has it in the new numbers too.
  function replace(html) {
    const focused = figures.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    figures.innerHTML = html;
    const links = Array.from(figures.querySelectorAll("a[href]"));
    const same = focused && links.find(function (link) { return link.getAttribute("href") === focused; });
    if (same) { same.focus({ preventScroll: true }); }
  }

  async function load() {
    if (loading) { return; }
    loading = true;
    try {
      const answer = await fetch("/today", { redirect: "manual", cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) {
        close();
        hide("out");
      } else if (answer.ok) {
        replace(await answer.text());
        version = answer.headers.get("X-Figures-Version");
        alive(answer.headers.get("X-Figures-At"));
      }
    } catch {
      if (silentMs() > GRACE_MS) { hide("lost"); }
    } finally {
      loading = false;
    }
  }

  function close() {
    if (stream) { stream.close(); stream = null; }
  }

  function open() {
    close();
    stream = new EventSource("/events");
    stream.addEventListener("beat", function (event) {
      const told = JSON.parse(event.data);
      asks = false;
      if (told.version !== version) { load(); } else { alive(told.at); }
    });
    stream.addEventListener("error", function () {
      if (stream && stream.readyState === EventSource.CLOSED) {  // refused, not interrupted
        stream = null;
        asks = true;
        load();
      }
    });
  }

  // An interrupted stream is opened again by the browser; until then the numbers are asked for.
  function look() {
    if (document.hidden || main.dataset.live === "out") { return; }
    if (asks) {
      if (silentMs() > 2 * ASK_MS) { hide("lost"); }
      return;
    }
    const isOpen = stream && stream.readyState === EventSource.OPEN;
    if (silentMs() > (isOpen ? SILENT_MS : GRACE_MS)) {
      load();
      if (silentMs() > SILENT_MS) { hide("lost"); }
    }
  }

  function ask() {
    if (asks && !document.hidden && main.dataset.live !== "out") { load(); open(); }
  }

  function resume() {
    if (!document.hidden && main.dataset.live !== "out") { load(); open(); }
  }

  show.addEventListener("click", function () {
    figures.hidden = false;
    show.hidden = true;
    state.textContent = fill(words.old);
  });
  document.addEventListener("visibilitychange", function () {
    if (document.hidden) { close(); } else { resume(); }
  });
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", function (event) { if (event.persisted) { resume(); } });
  window.setInterval(look, LOOK_MS);
  window.setInterval(ask, ASK_MS);
  if (!document.hidden) { open(); }
})();
