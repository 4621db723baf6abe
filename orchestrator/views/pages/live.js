// Keeps a served page up to date: polls its document and replaces only the sections whose HTML changed.
"use strict";
(() => {
  const url = document.body.dataset.live;
  const told = document.getElementById("liveness");
  const announcement = document.getElementById("announcement");
  const pause = document.getElementById("pause");
  const shown = new Map();
  let etag = "";
  let state = null;
  let timer = 0;
  let everyS = Number(document.body.dataset.every);

  // Open details, scroll positions and focus, stored by id so that they can be restored in the new HTML.
  const remembered = (place) => {
    const focused = place.contains(document.activeElement) ? document.activeElement : null;
    const details = focused?.closest("summary")?.parentElement;
    return {
      open: [...place.querySelectorAll("details[id]")].map((found) => [found.id, found.open]),
      scrolled: [...place.querySelectorAll(".scroll[id], pre[id]")].map((found) => [found.id, found.scrollTop, found.scrollLeft]),
      checked: [...place.querySelectorAll("input[id]:checked")].map((found) => found.id),
      focus: focused?.id || details?.id || "",
      onSummary: Boolean(details),
    };
  };

  const restore = (kept) => {
    for (const id of kept.checked) {
      const found = document.getElementById(id);
      if (found) found.checked = true;
    }
    for (const [id, open] of kept.open) {
      const found = document.getElementById(id);
      if (found) found.open = open;
    }
    for (const [id, top, left] of kept.scrolled) document.getElementById(id)?.scrollTo({ top, left, behavior: "instant" });
    const found = kept.focus && document.getElementById(kept.focus);
    if (found) (kept.onSummary ? found.querySelector("summary") : found).focus({ preventScroll: true });
  };

  const replace = (place, html) => {
    const kept = remembered(place);
    const charts = new Map([...place.querySelectorAll("[data-curve]")].map((chart) => [chart.dataset.curve, chart]));
    const fresh = document.createElement("template");
    fresh.innerHTML = html; // escaped by the server, and the page's policy runs no script in it
    for (const chart of fresh.content.querySelectorAll("[data-curve]")) {
      const old = charts.get(chart.dataset.curve);
      if (old) chart.replaceWith(old); // the old chart stays until it is redrawn, so that nothing jumps
    }
    place.replaceChildren(fresh.content);
    restore(kept);
  };

  const take = (found) => {
    for (const [name, html] of Object.entries(found.sections)) {
      if (shown.get(name) === html) continue;
      const place = document.querySelector(`[data-section="${name}"]`);
      if (place) replace(place, html);
      shown.set(name, html);
    }
    if (found.charts) {
      relayCharts.draw(found.charts);
      relayZoom.tellAll();
    }
    document.title = found.title;
    if (state !== null && state !== found.state) announcement.textContent = found.announcement;
    state = found.state;
  };

  const say = (text, broken) => {
    told.textContent = text;
    told.parentElement.classList.toggle("broken", broken);
  };

  const ask = async () => {
    try {
      const answer = await fetch(url, { headers: etag ? { "If-None-Match": etag } : {}, cache: "no-store" });
      if (answer.status === 200) {
        etag = answer.headers.get("ETag") ?? "";
        const found = await answer.json();
        everyS = found.every_s;
        take(found);
      } else if (answer.status !== 304) {
        say(`Not up to date: ${(await answer.json()).error}`, true);
        return;
      }
      say(`Up to date at ${new Date().toTimeString().slice(0, 8)}`, false);
    } catch {
      say("Not up to date: the dashboard does not answer. Start it again with relay dashboard.", true);
    }
  };

  const again = async () => {
    await ask();
    if (pause.getAttribute("aria-pressed") === "false") timer = setTimeout(again, everyS * 1000);
  };

  pause.addEventListener("click", () => {
    const paused = pause.getAttribute("aria-pressed") === "false";
    pause.setAttribute("aria-pressed", String(paused));
    document.body.toggleAttribute("data-paused", paused); // the log stops too
    clearTimeout(timer);
    if (paused) say("Updates are paused", false);
    else again();
  });
  // A page in a background tab polls as soon as it becomes visible.
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && pause.getAttribute("aria-pressed") === "false") {
      clearTimeout(timer);
      again();
    }
  });
  again();
})();
