// Draws the curves. The page is readable without this script: all other content is in its HTML.
"use strict";
const relayCharts = (() => {
  const HEIGHT = 190;
  const MARGIN = { left: 48, right: 12, top: 24, bottom: 32 };
  const SESSIONS_RULED = 16; // above this, lines would hide the curve, so sessions become ticks on the axis
  const CHARACTER = 6.2; // approximate width of a character in stage labels, in pixels
  const DECADES = 5; // shown below the highest value on a logarithmic scale

  // One row per point, as Plot's marks expect.
  const rowsOf = (curve) =>
    curve.lines.flatMap((line) =>
      line.at.map((at, index) => ({
        stage: line.stage,
        run: line.run,
        series: `${line.run ?? ""} ${line.stage}`,
        at,
        hours: line.hours?.[index],
        value: line.value[index],
        low: line.low[index],
        high: line.high[index],
        last: index === line.at.length - 1,
        alone: line.at.length === 1,
      })),
    );

  // Runs that are compared each have a colour and a pattern of dashes; a single run has neither.
  const strokeOf = (data, run) => data.runs?.find((found) => found.id === run)?.stroke ?? "var(--training)";
  const dashesOf = (data, run) => data.runs?.find((found) => found.id === run)?.dashes;

  // Runs with different stages share no bands, and the axis ends where the longest curve does.
  const longest = (data, axis) => Math.max(0, ...data.curves.flatMap((curve) => curve.lines.map((line) => line[axis].at(-1))));

  // Steps up to the end of the last stage that has begun, so that a young run's curve does not shrink to a speck.
  const reach = (data) => {
    const last = longest(data, "at");
    if (!data.stages.length) return last;
    const stage = data.stages.find((found) => last <= found.begins_at + found.target) ?? data.stages.at(-1);
    return stage.begins_at + stage.target;
  };

  const sessionMarks = (boundaries, [begin, end]) => {
    const shown = boundaries.filter((boundary) => boundary.at > begin && boundary.at < end);
    const channel = { x: "at", stroke: "currentColor" };
    if (shown.length <= SESSIONS_RULED) {
      return [Plot.ruleX(shown, { ...channel, strokeDasharray: "2,4", strokeOpacity: 0.8 })];
    }
    return [Plot.ruleX(shown, { ...channel, strokeOpacity: 0.5, strokeWidth: 0.5, insetTop: HEIGHT - MARGIN.top - MARGIN.bottom - 6 })];
  };

  const stageMarks = (stages, [begin, end], width) => {
    const shown = stages.filter((stage) => stage.begins_at < end && stage.begins_at + stage.target > begin);
    const pixels = (width - MARGIN.left - MARGIN.right) / (end - begin || 1);
    // A name that does not fit is shortened; below three characters there is no room for any.
    const room = (stage) => Math.floor((Math.min(end, stage.begins_at + stage.target) - Math.max(begin, stage.begins_at)) * pixels / CHARACTER);
    const named = (stage) => (stage.name.length <= room(stage) ? stage.name : `${stage.name.slice(0, room(stage) - 1)}…`);
    const bands = shown.filter((_, index) => index % 2 === 1);
    return [
      Plot.rectX(bands, { x1: (stage) => Math.max(begin, stage.begins_at), x2: (stage) => Math.min(end, stage.begins_at + stage.target), fill: "var(--band)" }),
      Plot.text(shown.filter((stage) => room(stage) >= 3), {
        x: (stage) => (Math.max(begin, stage.begins_at) + Math.min(end, stage.begins_at + stage.target)) / 2,
        text: named,
        frameAnchor: "top",
        lineAnchor: "bottom",
        dy: -6,
      }),
    ];
  };

  // At most seven characters, which the left margin has room for: 0.00766, 1.65, 12500, 1e-6.
  const label = (value) => {
    const size = Math.abs(value);
    return d3.format(size > 0 && (size < 1e-3 || size >= 1e5) ? ".2~e" : ".5~g")(value).replace("−", "-").replace("e+", "e");
  };

  const scaleOf = (curve, rows) => {
    if (curve.share) return { domain: [0, 1], tickFormat: ".0%" };
    if (!curve.logarithmic) {
      return { nice: true, tickFormat: label };
    }
    const highest = d3.max(rows, (row) => row.high);
    const lowest = Math.max(d3.min(rows, (row) => row.low), highest / 10 ** DECADES);
    const powers = d3.range(Math.floor(Math.log10(lowest)), Math.ceil(Math.log10(highest)) + 1).map((power) => 10 ** power);
    return { type: "log", domain: d3.extent(powers), clamp: true, ticks: powers, tickFormat: label };
  };

  const linesOf = (rows, data, axis) =>
    [...d3.group(rows, (row) => row.run).entries()].flatMap(([run, mine]) => {
      const stroke = strokeOf(data, run);
      return [
        Plot.areaY(mine, { x: axis, y1: "low", y2: "high", z: "series", fill: stroke, fillOpacity: data.runs ? 0.1 : 0.22 }),
        Plot.lineY(mine, { x: axis, y: "value", z: "series", stroke, strokeWidth: 2, strokeDasharray: dashesOf(data, run) || undefined }),
        Plot.dot(mine.filter((row) => row.alone), { x: axis, y: "value", r: 2.5, fill: stroke }),
      ];
    });

  // The part of the axis that all charts show; null is the whole run. Set by the tools in zoom.js.
  const spans = { at: null, hours: null };

  // Only rows inside the span are drawn, and the vertical scale is theirs; without any it stays that of the whole curve.
  const within = (rows, axis, [from, to]) => rows.filter((row) => row[axis] >= from && row[axis] <= to);

  const plot = (curve, data, width, axis) => {
    const bySteps = axis === "at";
    const span = spans[axis] ?? [0, bySteps ? reach(data) : longest(data, axis)];
    const all = rowsOf(curve);
    const rows = within(all, axis, span);
    const evaluations = new Set(data.stages.filter((stage) => stage.kind === "evaluate").map((stage) => stage.name));
    const results = rows.filter((row) => row.last && evaluations.has(row.stage));
    const said = (value) => (curve.share ? d3.format(".1%")(value) : d3.format(".4~g")(value));
    const where = (row) =>
      `${row.run ? `${row.run}, ` : ""}${row.stage}, step ${row.at} of the pipeline${bySteps ? "" : `, ${d3.format(".3~g")(row.hours)} h`}`;
    const tipped = (data.runs ? Plot.pointer : Plot.pointerX)({
      x: axis,
      y: "value",
      title: (row) => `${where(row)}\n${said(row.value)} (${said(row.low)} to ${said(row.high)})`,
    });
    return Plot.plot({
      width,
      height: HEIGHT,
      marginLeft: MARGIN.left,
      marginRight: MARGIN.right,
      marginTop: MARGIN.top,
      marginBottom: MARGIN.bottom,
      ariaLabel: bySteps ? curve.sentence : `By hour of quota. ${curve.sentence}`,
      x: { domain: span, label: null, ticks: Math.max(2, Math.floor(width / 90)), tickFormat: bySteps ? "~s" : ".3~g" },
      y: { label: null, ticks: 5, grid: true, ...scaleOf(curve, rows.length ? rows : all) },
      marks: [
        ...(bySteps ? [...stageMarks(data.stages, span, width), ...sessionMarks(data.boundaries, span)] : []),
        ...linesOf(rows, data, axis),
        Plot.dot(results, { x: axis, y: "value", r: 4, fill: "var(--paper)", stroke: (row) => strokeOf(data, row.run), strokeWidth: 2 }),
        Plot.ruleX(rows, Plot.pointerX({ x: axis, stroke: "var(--ink)", strokeOpacity: 0.4 })),
        Plot.tip(rows, { ...tipped, fill: "var(--paper)", stroke: "var(--line)" }),
      ],
    });
  };

  const drawOne = (place, data) => {
    const curve = data.curves.find((found) => found.name === place.dataset.curve);
    const width = Math.floor(place.clientWidth);
    if (!curve || !width) return;
    const drawn = plot(curve, data, width, place.dataset.axis ?? "at");
    drawn.setAttribute("role", "img");
    drawn.querySelectorAll("[aria-label]").forEach((part) => part.removeAttribute("aria-label")); // only the whole picture has a label
    drawn.querySelector("style")?.remove(); // its rules are in the page's own stylesheet, which the strict policy allows
    place.replaceChildren(drawn);
    place.dataset.width = width;
    place.dispatchEvent(new CustomEvent("chart-drawn", { bubbles: true, detail: { left: MARGIN.left, right: MARGIN.right } }));
  };

  let data = null;
  const places = () => document.querySelectorAll("[data-curve]");
  const draw = (found) => {
    data = found ?? data;
    if (data) places().forEach((place) => drawOne(place, data));
  };
  const redrawWhereWidthChanged = () =>
    places().forEach((place) => {
      if (data && place.clientWidth && Math.floor(place.clientWidth) !== Number(place.dataset.width)) drawOne(place, data);
    });

  addEventListener("resize", redrawWhereWidthChanged);
  document.addEventListener("toggle", redrawWhereWidthChanged, true); // charts in closed details have no width yet
  const embedded = document.getElementById("charts");
  if (embedded) draw(JSON.parse(embedded.textContent));
  const whole = (axis) => [0, data ? (axis === "at" ? reach(data) : longest(data, axis)) : 0];
  const show = (axis, span) => {
    spans[axis] = span;
    draw();
  };
  return { draw, whole, show, shown: (axis) => spans[axis] ?? whole(axis) };
})();
