// Selects a span of steps (or hours) in one chart, which all charts of that axis then show: with the mouse, by touch
// or pen across a chart, with buttons and number fields, or with the keyboard on a chart.
"use strict";
const relayZoom = (() => {
  const LEAST_PIXELS = 6; // a shorter drag is a click
  const UNITS = { at: "Steps", hours: "Hours" };
  const STEPS = { at: 1, hours: 0.001 };
  const tools = (axis) => document.querySelector(`[data-zoom="${axis}"]`);
  const rounded = (axis, value) => (axis === "at" ? Math.round(value) : Number(value.toFixed(3)));
  const isWhole = (axis) => {
    const [from, to] = relayCharts.shown(axis);
    return from === 0 && to === relayCharts.whole(axis)[1];
  };

  const tell = (axis) => {
    const place = tools(axis);
    if (!place) return;
    const [from, to] = relayCharts.shown(axis).map((value) => rounded(axis, value));
    const end = rounded(axis, relayCharts.whole(axis)[1]);
    for (const [name, value] of [["from", from], ["to", to]]) {
      const field = place.querySelector(`[name="${name}"]`);
      field.max = end;
      if (document.activeElement !== field) field.value = value;
    }
    place.querySelector("output").textContent = `${UNITS[axis]} ${from} to ${to} of ${end}`;
    place.querySelector('[data-do="whole"]').disabled = isWhole(axis);
  };

  // A span is kept inside the run and is never shorter than one step or a thousandth of an hour.
  const show = (axis, from, to) => {
    const [, end] = relayCharts.whole(axis);
    const least = STEPS[axis];
    if (!(end > 0) || !Number.isFinite(from) || !Number.isFinite(to)) return;
    const low = Math.max(0, Math.min(from, to, end - least));
    const high = Math.min(end, Math.max(from, to, low + least));
    relayCharts.show(axis, low <= 0 && high >= end ? null : [rounded(axis, low), rounded(axis, high)]);
    tell(axis);
  };

  const act = (axis, name) => {
    const [from, to] = relayCharts.shown(axis);
    const [length, middle, end] = [to - from, (from + to) / 2, relayCharts.whole(axis)[1]];
    const step = Math.min(length / 2, name === "later" ? end - to : from);
    if (name === "in") show(axis, middle - length / 4, middle + length / 4);
    if (name === "out") show(axis, middle - length, middle + length);
    if (name === "earlier") show(axis, from - step, to - step);
    if (name === "later") show(axis, from + step, to + step);
    if (name === "whole") show(axis, 0, end);
  };

  for (const place of document.querySelectorAll("[data-zoom]")) {
    const axis = place.dataset.zoom;
    place.hidden = false;
    place.addEventListener("click", (event) => event.target.dataset.do && act(axis, event.target.dataset.do));
    place.addEventListener("change", () => {
      const [from, to] = ["from", "to"].map((name) => place.querySelector(`[name="${name}"]`).valueAsNumber);
      if (to > from) show(axis, from, to);
    });
  }

  const KEYS = { "+": "in", "=": "in", "-": "out", ArrowLeft: "earlier", ArrowRight: "later", Escape: "whole", 0: "whole" };
  document.addEventListener("keydown", (event) => {
    const chart = event.target.closest?.("[data-curve]");
    const name = KEYS[event.key];
    if (!chart || !name || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act(chart.dataset.axis ?? "at", name);
  });

  // --- selection in a chart ---

  let drag = null;
  const valueAt = (chart, axis, clientX, margins) => {
    const box = chart.getBoundingClientRect();
    const share = (clientX - box.left - margins.left) / (box.width - margins.left - margins.right);
    const [from, to] = relayCharts.shown(axis);
    return from + Math.min(1, Math.max(0, share)) * (to - from);
  };
  let margins = { left: 0, right: 0 };
  document.addEventListener("chart-drawn", (event) => {
    margins = event.detail;
    event.target.tabIndex = 0;
  });

  document.addEventListener("pointerdown", (event) => {
    const chart = event.target.closest?.("[data-curve]");
    if (!chart || event.button !== 0) return;
    const mark = document.createElement("div");
    mark.className = "selected";
    drag = { chart, axis: chart.dataset.axis ?? "at", x: event.clientX, mark };
  }, true); // in the capturing phase: Plot's own tips keep the event from bubbling
  document.addEventListener("pointermove", (event) => {
    if (!drag || Math.abs(event.clientX - drag.x) < LEAST_PIXELS) return;
    const box = drag.chart.getBoundingClientRect();
    const inside = Math.min(box.right - margins.right, Math.max(box.left + margins.left, event.clientX));
    drag.mark.style.left = `${Math.min(drag.x, inside) - box.left}px`;
    drag.mark.style.width = `${Math.abs(inside - drag.x)}px`;
    if (!drag.mark.isConnected) drag.chart.append(drag.mark);
  });
  document.addEventListener("pointerup", (event) => {
    if (!drag) return;
    const { chart, axis, x, mark } = drag;
    drag = null;
    mark.remove();
    if (Math.abs(event.clientX - x) < LEAST_PIXELS) return;
    show(axis, ...[x, event.clientX].map((clientX) => valueAt(chart, axis, clientX, margins)));
  });
  document.addEventListener("pointercancel", () => {
    drag?.mark.remove();
    drag = null;
  });
  document.addEventListener("dblclick", (event) => {
    const chart = event.target.closest?.("[data-curve]");
    if (chart) act(chart.dataset.axis ?? "at", "whole");
  });

  const tellAll = () => ["at", "hours"].forEach(tell);
  relayCharts.draw(); // once more, so that every chart is told of and can be reached with the keyboard
  tellAll();
  return { show, tellAll };
})();
