"use strict";
// Enlarge the picture under the pointer, and drag it about. An event "enlarge" does it from a key.
(function () {
  function begin() {
    const canvas = document.querySelector("[data-canvas]");

    function enlarge(x, y) {
      const image = Array.from(canvas.querySelectorAll("img:not(.over)")).find(function (one) { return one.offsetParent; });
      if (!image) { return; }
      if (!canvas.classList.contains("zoomed")) { canvas.style.setProperty("--shown", image.clientWidth + "px"); }
      const zoomed = canvas.classList.toggle("zoomed");
      if (zoomed) {
        canvas.scrollLeft = x * canvas.scrollWidth - canvas.clientWidth / 2;
        canvas.scrollTop = y * canvas.scrollHeight - canvas.clientHeight / 2;
      }
    }
    canvas.addEventListener("enlarge", function () { enlarge(0.5, 0.5); });

    let dragged = false;
    let from = null;
    canvas.addEventListener("pointerdown", function (event) {
      dragged = false;
      from = canvas.classList.contains("zoomed") ? [event.clientX + canvas.scrollLeft, event.clientY + canvas.scrollTop] : null;
    });
    canvas.addEventListener("pointermove", function (event) {
      if (!from || !event.buttons) { return; }
      const left = from[0] - event.clientX;
      const top = from[1] - event.clientY;
      dragged = dragged || Math.abs(left - canvas.scrollLeft) + Math.abs(top - canvas.scrollTop) > 4;
      canvas.scrollTo(left, top);
    });
    canvas.addEventListener("click", function (event) {
      const image = event.target.closest("img, svg");
      if (dragged || !image) { return; }
      const box = image.getBoundingClientRect();
      enlarge((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    });
    canvas.addEventListener("dragstart", function (event) { event.preventDefault(); });
  }
  begin();
  document.addEventListener("placed", begin);
}());
