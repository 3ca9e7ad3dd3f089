"use strict";
// Sorting, filtering, and opening the run that a link leads to. The page is complete without it.
const value = (row, column) => {
  const cell = row.cells[column];
  return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
};
const compared = (a, b) =>
  typeof a === "number" && typeof b === "number"
    ? a - b
    : String(a).localeCompare(String(b), "en", { numeric: true });
const sort = (table, head) => {
  const column = head.cellIndex;
  const before = head.getAttribute("aria-sort");
  // Figures start with the largest, names with the first.
  const first = head.dataset.sort === "number" ? "descending" : "ascending";
  const other = first === "ascending" ? "descending" : "ascending";
  const direction = before === first ? other : first;
  for (const one of table.tHead.rows[0].cells) one.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => sign * compared(value(a, column), value(b, column)));
  table.tBodies[0].append(...rows);
};
for (const table of document.querySelectorAll("table")) {
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, head));
    head.append(button);
    head.setAttribute("aria-sort", "none");
  }
}
const rows = [...document.querySelectorAll("tbody tr")];
const runs = [...document.querySelectorAll("details.run")];
let texts = null;
const filter = () => {
  const words = document.getElementById("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  texts ??= new Map([...rows, ...runs].map((one) => [one, one.textContent.toLowerCase()]));
  for (const [one, text] of texts) one.hidden = !words.every((word) => text.includes(word));
  const shown = runs.filter((one) => !one.hidden).length;
  document.getElementById("found").textContent =
    words.length === 0 ? "" : `${shown} of ${runs.length} runs`;
};
document.getElementById("words").addEventListener("input", filter);
document.getElementById("filter").hidden = false;
const open = () => {
  const there = document.getElementById(location.hash.slice(1));
  if (there instanceof HTMLDetailsElement) {
    there.open = true;
    there.hidden = false;
    there.scrollIntoView();
  }
};
addEventListener("hashchange", open);
open();
