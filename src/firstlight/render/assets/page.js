"use strict";
// Theme: follows the system until the button is used.
(() => {
  const body = document.body, button = document.querySelector(".theme");
  const dark = () => body.dataset.theme ? body.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const name = () => { button.textContent = dark() ? "Light theme" : "Dark theme"; };
  const show = (theme) => {
    body.dataset.theme = theme;
    document.documentElement.style.colorScheme = theme;
    name();
  };
  button.hidden = false;
  button.addEventListener("click", () => show(dark() ? "light" : "dark"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  name();
})();
// Sorting: numbers by value, names by their natural order, what is missing last.
(() => {
  const value = (cell) => {
    const text = cell.textContent.trim();
    if (text === "" || text === "–") return null;
    const plain = text.replace("−∞", "-Infinity").replace("∞", "Infinity").replaceAll("−", "-");
    return Number.isNaN(Number(plain)) ? text : Number(plain);
  };
  const order = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells], rows = [...table.tBodies[0].rows];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const turn = head.getAttribute("aria-sort");
      // up, down, and back to the order of execution
      const next = turn === "ascending" ? "descending" : turn === "descending" ? "none" : "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      let sorted = rows;
      if (next !== "none") {
        head.setAttribute("aria-sort", next);
        const sign = next === "ascending" ? 1 : -1;
        const keyed = rows.map((row) => [value(row.cells[column]), row]);
        keyed.sort(([a], [b]) => (a === null) - (b === null) || (a === null ? 0 : sign * order(a, b)));
        sorted = keyed.map(([, row]) => row);
      }
      table.tBodies[0].append(...sorted);
    }));
  }
})();
