// Every cell carries its place in ascending order; a cell without one stays at the end whichever way.
for (const table of document.querySelectorAll("table.sortable")) {
  table.tHead.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const heading = button.closest("th");
    const descending = heading.getAttribute("aria-sort") === "ascending";
    for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const place = (row) => {
      const rank = row.cells[heading.cellIndex].dataset.rank;
      return rank === undefined ? Infinity : descending ? -rank : +rank;
    };
    const rows = [...table.tBodies[0].rows].map((row) => [place(row), row]);
    rows.sort(([first], [second]) => (first === second ? 0 : first < second ? -1 : 1));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  });
}
