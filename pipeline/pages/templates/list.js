"use strict";
// The list of all videos: sorts, filters and turns pages. Text is only ever text: no HTML is made of it.
(() => {
  const { at, rows, page: pageRows } = JSON.parse(document.getElementById("rows").textContent);
  const section = document.getElementById("videos");
  const form = section.querySelector("form");
  const body = section.querySelector("tbody");
  const model = body.rows[0].cloneNode(true);
  const status = section.querySelector("[role=status]");
  const turns = { previous: -1, next: 1 };
  const number = new Intl.NumberFormat("en");
  const order = new Intl.Collator("en", { numeric: true });
  const texts = rows.map((row) => [row[at.folder] + row[at.name], ...row].flat().join(" ").toLowerCase());
  let sorting = null; // { field, direction }
  let shown = rows;
  let page = 0;

  const isFailed = (row) => !["scored", "pending"].includes(row[at.outcome]);
  const isEmpty = (value) => value === null || value.length === 0;
  const words = (value) => {
    if (value === null) return "";
    if (typeof value === "number") return value.toFixed(1);
    return Array.isArray(value) ? value.join("\n") : value;
  };

  function isWanted(row, what) {
    if (what === "failed") return isFailed(row);
    if (what === "warnings") return row[at.warnings].length > 0;
    if (what === "in doubt") return row[at.in_doubt];
    if (what.startsWith("warning ")) return row[at.warnings].some((one) => one.split(":")[0] === what.slice(8));
    return !what || row[at.verdict] === what || row[at.outcome] === what;
  }

  function compare(a, b) {
    const [one, other] = [a[sorting.field], b[sorting.field]];
    if (isEmpty(one) || isEmpty(other)) return isEmpty(one) - isEmpty(other); // what is not known goes last
    const difference = typeof one === "number" ? one - other : order.compare(words(one), words(other));
    return sorting.direction * difference;
  }

  // As page.py breaks names.
  const breakable = (name) => {
    const parts = name.match(/\.?[^-_/.]*[-_/]*/g).filter(Boolean);
    return parts.flatMap((part, place) => (place ? [document.createElement("wbr"), part] : part));
  };

  function rowOf(values) {
    const row = model.cloneNode(true);
    for (const cell of row.querySelectorAll("[data-at]")) {
      const text = words(values[cell.dataset.at]);
      cell.replaceChildren(...(cell.matches(".name") ? breakable(text) : [text]));
      if (cell.dataset.value !== undefined) cell.dataset.value = text;
      if (cell.title) cell.title = values[at.folder] + text;
    }
    return row;
  }

  function draw() {
    const start = page * pageRows;
    const part = shown.slice(start, start + pageRows);
    body.replaceChildren(...part.map(rowOf));
    const range = part.length ? `${number.format(start + 1)} to ${number.format(start + part.length)}` : "none";
    const all = shown.length < rows.length ? `, filtered from ${number.format(rows.length)}` : "";
    status.textContent = `${range} of ${number.format(shown.length)}${all}`;
    for (const [name, step] of Object.entries(turns)) {
      const button = section.querySelector(`button[name=${name}]`);
      button.hidden = shown.length <= pageRows;
      button.disabled = !shown[(page + step) * pageRows];
    }
  }

  function refresh() {
    const wanted = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const what = form.elements.show.value;
    shown = rows.filter((row, index) => isWanted(row, what) && wanted.every((word) => texts[index].includes(word)));
    if (sorting) shown.sort(compare);
    page = 0;
    draw();
  }

  function sortBy(button) {
    const field = Number(button.dataset.at);
    sorting = { field, direction: sorting?.field === field ? -sorting.direction : 1 };
    for (const heading of section.querySelectorAll("th[aria-sort]")) heading.ariaSort = "none";
    button.parentElement.ariaSort = sorting.direction > 0 ? "ascending" : "descending";
    refresh();
  }

  form.hidden = false;
  form.addEventListener("input", refresh);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(refresh)); // once the fields are empty
  for (const button of section.querySelectorAll("th button")) {
    button.disabled = false;
    button.addEventListener("click", () => sortBy(button));
  }
  for (const [name, step] of Object.entries(turns)) {
    section.querySelector(`button[name=${name}]`).addEventListener("click", () => {
      page += step;
      draw();
      section.scrollIntoView(); // where the page begins: the button is below its end
    });
  }
  for (const link of document.querySelectorAll("a[data-show]")) {
    link.addEventListener("click", () => {
      form.elements.text.value = "";
      form.elements.show.value = link.dataset.show;
      refresh();
    });
  }
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
  refresh();
})();
