// Ribbons move on: the present state of an EVSE lasts until a message says that it changed.
"use strict";

const STEP_MS = 20000;

function moveRibbons() {
  for (const ribbon of document.querySelectorAll("[data-ribbon]")) {
    ribbon.shownAt ??= Date.now();
    const shift = (Date.now() - ribbon.shownAt) / 1000 / Number(ribbon.dataset.ribbon);
    ribbon.setAttribute("viewBox", `${shift} 0 360 18`);
    for (const piece of ribbon.querySelectorAll("[data-present]")) {
      piece.firstWidth ??= Number(piece.getAttribute("width"));
      piece.setAttribute("width", piece.firstWidth + shift);
    }
  }
}

document.addEventListener("DOMContentLoaded", () => {
  moveRibbons();
  setInterval(moveRibbons, STEP_MS);
});
