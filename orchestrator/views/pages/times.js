// Shows times in the reader's zone, with UTC as their title, and keeps counting what depends on the present moment.
// A page without this script shows UTC. Elements that are added later are found by an observer: nobody has to call this.
"use strict";
const relayTimes = (() => {
  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const two = (number) => String(number).padStart(2, "0");

  // The format of orchestrator/base/humanize.duration from one second on: the two largest units, rounded down.
  const duration = (seconds) => {
    let left = Math.max(0, Math.floor(seconds));
    const parts = [];
    for (const [length, unit] of UNITS) {
      const count = Math.floor(left / length);
      left %= length;
      if (count || parts.length) parts.push(count ? `${count.toLocaleString("en")} ${unit}` : "");
    }
    return parts.slice(0, 2).filter(Boolean).join(" ") || "0 s";
  };

  const local = (at) =>
    `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}`;
  const utc = (at) => `${at.toISOString().slice(0, 10)} ${at.toISOString().slice(11, 19)} UTC`;

  const distance = (at, now) => {
    const seconds = (at - now) / 1000;
    if (Math.abs(seconds) < 1) return "now";
    return seconds > 0 ? `in ${duration(seconds)}` : `${duration(-seconds)} ago`;
  };

  const write = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };

  const show = (element, now) => {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) return;
    if (element.dataset.as === "title") { // the text is something else, such as an age: the time is its title
      element.title = `${local(at)}, ${utc(at)}`;
      return;
    }
    element.title ||= utc(at);
    const day = element.dataset.as === "weekday" ? `${at.toLocaleDateString("en", { weekday: "short" })} ` : "";
    write(element, day + local(at) + ("counts" in element.dataset ? ` (${distance(at, now)})` : ""));
  };

  const live = Boolean(document.body.dataset.live);
  const count = (element, now) => {
    const seconds = (now - new Date(element.dataset.since)) / 1000;
    if (live && !Number.isNaN(seconds)) write(element, duration(Math.min(seconds, Number(element.dataset.most))));
  };

  const showAll = () => {
    document.querySelectorAll("time[datetime]").forEach((element) => show(element, Date.now()));
    keepCounting();
  };
  const keepCounting = () => {
    const now = Date.now();
    document.querySelectorAll("time[data-counts]").forEach((element) => show(element, now));
    document.querySelectorAll("[data-since]").forEach((element) => count(element, now));
  };

  // The zone in words, for the sentence in the footer that says what the times are.
  const zone = () => {
    const minutes = -new Date().getTimezoneOffset();
    const offset = `${minutes < 0 ? "−" : "+"}${two(Math.floor(Math.abs(minutes) / 60))}:${two(Math.abs(minutes) % 60)}`;
    return `${Intl.DateTimeFormat().resolvedOptions().timeZone} (UTC${offset})`;
  };

  document.querySelectorAll("[data-zone]").forEach((element) => {
    element.textContent = `Times are those of your zone, ${zone()}; hover over one to see UTC.`;
  });
  showAll();
  new MutationObserver(showAll).observe(document.body, { childList: true, subtree: true });
  setInterval(keepCounting, 1000);
  return { duration, distance, local, utc };
})();
