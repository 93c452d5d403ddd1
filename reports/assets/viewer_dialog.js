"use strict";
// Opens the viewer over a page of an order: V on a field, or a click on its link. The arrow keys go to
// the field before or after, and zoom and place are kept. Nothing is decided while it is open.
(function () {
  const dialog = document.querySelector("[data-viewer-dialog]");
  const links = Array.from(document.querySelectorAll("[data-open-viewer]"));
  const place = dialog.querySelector("[data-viewer-place]");
  const title = dialog.querySelector("h2");
  const status = dialog.querySelector("[data-dialog-say]");
  let at = -1;
  let asked = 0;

  async function show(number) {
    if (number < 0 || number >= links.length) { return; }
    at = number;
    dialog.querySelector("[data-previous]").disabled = number === 0;
    dialog.querySelector("[data-next]").disabled = number === links.length - 1;
    asked += 1;
    const own = asked;
    if (!dialog.open) { dialog.showModal(); }
    try {
      const answer = await fetch(links[number].href);
      if (!answer.ok) { throw new TypeError(answer.statusText); }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (own !== asked || !dialog.open) { return; } // another one is wanted by now
      const stage = page.querySelector("[data-viewer-page] .stage");
      if (!stage) { location.assign(links[number].href); return; } // such as the page of the log-in
      title.textContent = page.querySelector("[data-viewer-title]").textContent;
      place.replaceChildren(stage);
      status.textContent = "";
      document.dispatchEvent(new Event("viewer-placed"));
      place.querySelector("[data-canvas]").focus();
    } catch (error) {
      if (!(error instanceof TypeError)) { throw error; } // as fetch names a server out of reach
      status.textContent = dialog.dataset.unreachable;
    }
  }
  function close() { if (dialog.open) { dialog.close(); } }
  dialog.addEventListener("close", function () {
    if (window.viewer) { viewer.end(); window.viewer = null; }
    place.replaceChildren();
    asked += 1;
    const link = links[at];
    if (link) { (link.closest("[data-plate][tabindex]") || link).focus(); }
  });
  // The page's own keys would confirm fields that cannot be seen now.
  dialog.addEventListener("keydown", function (event) {
    event.stopPropagation();
    if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey || event.isComposing) { return; }
    if (event.target.matches("input[type=range], input[type=radio], select") && event.key.startsWith("Arrow")) { return; }
    const acts = {
      arrowright: function () { show(at + 1); }, arrowleft: function () { show(at - 1); },
      j: function () { show(at + 1); }, k: function () { show(at - 1); },
      v: close,
      f: function () { place.querySelector("[data-canvas]").dispatchEvent(new Event("enlarge")); },
      h: function () { viewer.overlays.cycle(); },
      w: function () { const other = place.querySelector(".stage > input[name=layer]:not(:checked)"); if (other) { other.click(); } }
    };
    const act = acts[event.key.toLowerCase()];
    if (act && !event.repeat) { event.preventDefault(); act(); }
  });
  const buttons = { close: close, next: function () { show(at + 1); }, previous: function () { show(at - 1); } };
  for (const word of Object.keys(buttons)) { dialog.querySelector("[data-" + word + "]").addEventListener("click", buttons[word]); }
  links.forEach(function (link, number) {
    link.addEventListener("click", function (event) {
      if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) { return; }
      event.preventDefault();
      show(number);
    });
  });
  document.addEventListener("keydown", function (event) {
    if (event.key.toLowerCase() !== "v" || event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.repeat) { return; }
    if (dialog.open || event.target.matches("input:not([type=checkbox], [type=radio]), select, textarea")) { return; }
    const holder = event.target.closest("li, [data-plate]") || document.querySelector("[data-plate].current");
    const own = holder ? links.findIndex(function (link) { return holder.contains(link); }) : -1;
    if (!links.length) { return; }
    event.preventDefault();
    show(Math.max(own, 0));
  });
}());
