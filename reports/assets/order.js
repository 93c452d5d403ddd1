"use strict";
// Look again every 15 s, but not while the page is used by keyboard, holds a typed reason, or is in
// the background.
setInterval(() => {
  const busy = document.activeElement && document.activeElement !== document.body;
  const typed = [...document.querySelectorAll("input:not([type=hidden])")].some((input) => input.value);
  if (!document.hidden && !busy && !typed) location.reload();
}, 15000);
