"use strict";
// Look again every 15 s, but not while somebody reads with the keyboard or has the page in the back.
setInterval(() => {
  const busy = document.activeElement && document.activeElement !== document.body;
  if (!document.hidden && !busy) location.reload();
}, 15000);
