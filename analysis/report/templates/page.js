"use strict";
// Colours by hand, and tables that sort by a column: ascending, descending, then as they came.
(() => {
  const page = document.documentElement;
  const toggle = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const stored = (value) => {
    try {
      return value ? localStorage.setItem("prunescope-theme", value) : localStorage.getItem("prunescope-theme");
    } catch {
      return null; // frames without an origin have no storage
    }
  };
  const apply = (theme) => {
    page.dataset.theme = theme;
    toggle.textContent = theme === "dark" ? "Light" : "Dark";
    toggle.setAttribute("aria-label", `Switch to ${theme === "dark" ? "light" : "dark"} colours`);
  };
  const current = () => page.dataset.theme;
  const chosen = stored();
  apply(chosen === "dark" || chosen === "light" ? chosen : dark.matches ? "dark" : "light");
  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    apply(current() === "dark" ? "light" : "dark");
    stored(current());
  });
  dark.addEventListener("change", () => { if (!stored()) apply(dark.matches ? "dark" : "light"); });

  const value = (row, column) => {
    const cell = row.cells[column];
    if (cell.tagName === "TH") return cell.textContent.trim().toLowerCase();
    return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  };
  // What has no number comes last either way; equals stay in the order in which they came.
  const compare = (sign) => ([, first], [, second]) => {
    if (first === null || second === null) return (first === null) - (second === null);
    return sign * (typeof first === "string" ? first.localeCompare(second) : first - second);
  };
  const NEXT = { none: "ascending", ascending: "descending", descending: "none" };

  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const order = NEXT[head.getAttribute("aria-sort")];
        for (const other of heads) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", order);
        const keyed = original.map((row) => [row, value(row, column)]);
        if (order !== "none") keyed.sort(compare(order === "ascending" ? 1 : -1));
        body.append(...keyed.map(([row]) => row));
      });
    });
  }
})();
