// Finds, filters and sorts the rows of the list of runs as they are typed and clicked, also after updates.
"use strict";
(() => {
  const place = document.querySelector('[data-section="runs"]');
  const form = document.getElementById("choice");
  const [pattern, state, sort, shown] = ["pattern", "state", "sort", "shown"].map((id) => document.getElementById(id));
  const DESCENDING = new Set(["progress", "session", "used"]);
  const MEASURED = ["progress", "session", "age", "used", "done"]; // in the order of data-sort
  let column = sort.value || "state";
  let flipped = false;
  document.getElementById("choose").hidden = true;

  // A shell pattern must fit a whole name, as on the command line; any other text may stand anywhere in it.
  const matcher = (text) => {
    if (!/[*?[]/.test(text)) return (name) => name.toLowerCase().includes(text.toLowerCase());
    const escaped = text.replace(/[.+^${}()|\\]/g, "\\$&").replace(/\*/g, ".*").replace(/\?/g, ".").replace(/\[!/g, "[^");
    try {
      const whole = new RegExp(`^${escaped}$`, "s");
      return (name) => whole.test(name);
    } catch { // a bracket that is still open
      return (name) => name.includes(text);
    }
  };

  // The value of a row in the sorted column; null where it has none, which comes last either way.
  const value = (row) => {
    if (column === "run") return row.dataset.id;
    if (column === "accelerator") return row.querySelector(".col-accelerator").textContent;
    const place = MEASURED.indexOf(column);
    if (place < 0) return Number(row.dataset.order);
    const text = row.dataset.sort.split(";")[place];
    return text === "" ? null : Number(text);
  };

  const compare = (one, other) => {
    const [a, b] = [one.at, other.at];
    if (a === null || b === null) return (a === null) - (b === null) || one.order - other.order;
    const by = a < b ? -1 : a > b ? 1 : 0;
    return by * (DESCENDING.has(column) !== flipped ? -1 : 1) || one.order - other.order;
  };

  const arrange = () => {
    const body = document.querySelector("#runs tbody");
    if (!body) return;
    const rows = [...body.rows];
    rows.forEach((row, order) => { row.dataset.order ??= String(order); });
    const fits = matcher(pattern.value.trim());
    let count = 0;
    for (const row of rows) {
      const chosen = (fits(row.dataset.id) || fits(row.dataset.name)) && (!state.value || row.dataset.state === state.value);
      row.hidden = !chosen;
      count += Number(chosen);
    }
    const ordered = rows.map((row) => ({ row, at: value(row), order: Number(row.dataset.order) })).sort(compare).map((one) => one.row);
    if (ordered.some((row, at) => row !== body.rows[at])) { // else the focus would be lost for nothing
      const focused = document.activeElement;
      body.append(...ordered);
      if (body.contains(focused)) focused.focus({ preventScroll: true });
    }
    for (const head of document.querySelectorAll("#runs th[aria-sort]")) {
      const descending = DESCENDING.has(head.dataset.column) !== flipped;
      head.ariaSort = head.dataset.column === column ? (descending ? "descending" : "ascending") : "none";
    }
    document.getElementById("none").hidden = count > 0;
    const told = count === rows.length ? `${count} runs` : `${count} of ${rows.length} runs`;
    if (shown.textContent !== told) shown.textContent = told;
  };

  pattern.addEventListener("input", arrange);
  state.addEventListener("change", arrange);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const chosen = event.submitter?.name === "sort" ? event.submitter.value : null;
    if (chosen) [column, flipped] = [chosen, chosen === column && !flipped];
    sort.value = column;
    arrange();
  });
  new MutationObserver(arrange).observe(place, { childList: true });
  arrange();
})();
