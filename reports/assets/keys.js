"use strict";
// Digits typed one after another make one key, such as "07". The keys of one list are equally long,
// so none begins another; what is typed is forgotten as soon as another micrograph comes.
window.typedKeys = function () {
  let typed = "";
  return {
    clear: function () { typed = ""; },
    // Returns {key} once a key is complete, {wrong} where none begins like this, else {typed}.
    add: function (digit, keys) {
      typed += digit;
      if (keys.includes(typed)) { const key = typed; typed = ""; return { key: key }; }
      if (keys.some(function (one) { return one.startsWith(typed); })) { return { typed: typed }; }
      const wrong = typed;
      typed = "";
      return { wrong: wrong };
    }
  };
};
window.digitOf = function (event) {
  const match = /^(?:Digit|Numpad)([0-9])$/.exec(event.code);
  return match ? match[1] : "";
};
// Marks a page as ready for keys that decide: its picture has been drawn, and no one can have seen it
// and answered sooner. Until then a key was meant for the micrograph before.
window.readyWhenShown = function (page) {
  const REACTION_MS = 300;
  const image = page.querySelector(".crop img");
  (image ? image.decode() : Promise.resolve()).catch(function () {}).then(function () {
    requestAnimationFrame(function () { setTimeout(function () { page.dataset.ready = ""; }, REACTION_MS); });
  });
};
