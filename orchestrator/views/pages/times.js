// Shows every time in the browser's zone, and in UTC where the pointer rests on it; also those that come later.
"use strict";
(() => {
  const now = new Date();
  const format = (parts) => new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", ...parts });
  const day = { day: "numeric", month: "short" };
  const [thisYear, anyYear, full] = [format(day), format({ ...day, year: "numeric" }), format({ ...day, year: "numeric", timeZoneName: "short" })];
  const utc = (at) => `${at.toISOString().slice(0, 16).replace("T", " ")} UTC`;

  const localize = (found) => {
    const at = new Date(found.dateTime);
    if (found.dataset.local || Number.isNaN(at.getTime())) return;
    found.dataset.local = "yes";
    if (found.dataset.as === "title") { // the text is an age: the time itself is the hint
      found.title = `${full.format(at)}, ${utc(at)}`;
      return;
    }
    found.title = utc(at);
    found.textContent = (at.getFullYear() === now.getFullYear() ? thisYear : anyYear).format(at);
  };

  const within = (place) => {
    if (place instanceof HTMLTimeElement) localize(place);
    if (place instanceof Element) place.querySelectorAll("time[datetime]").forEach(localize);
  };
  within(document.body);
  new MutationObserver((changes) => changes.forEach((change) => change.addedNodes.forEach(within)))
    .observe(document.body, { childList: true, subtree: true });
})();
