"use strict";
// The key "/" goes to the search of the head, unless the page has used the key itself.
document.addEventListener("keydown", function (event) {
  if (event.key !== "/" || event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) { return; }
  if (event.target.closest("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]") || document.querySelector("dialog[open]")) { return; }
  const box = document.querySelector("[data-search]");
  if (box) { event.preventDefault(); box.focus(); box.select(); }
});
