// Follows the newest session's log: asks for new lines, keeps the last ones, and stops scrolling where the reader does.
"use strict";
for (const place of document.querySelectorAll("[data-log]")) {
  const LINES_MAX = 2000;
  const [lines, told, button] = [".log-lines", ".log-told", ".log-follow"].map((name) => place.querySelector(name));
  let { slug = "", at = "" } = place.dataset;
  let following = true;
  let timer = 0;

  const press = (on) => {
    following = on;
    button.setAttribute("aria-pressed", String(on));
    button.textContent = on ? "Following" : "Follow";
  };
  const toEnd = () => { lines.scrollTop = lines.scrollHeight; };
  const atEnd = () => lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 8;

  const add = (texts) => {
    for (const text of texts) lines.append(document.createTextNode(`${text}\n`)); // never as HTML
    while (following && lines.childNodes.length > LINES_MAX) lines.firstChild.remove();
    if (following) toEnd();
  };

  const take = (found) => {
    if (found.slug !== slug) {
      if (lines.childNodes.length) add(["", found.heading]);
      slug = found.slug;
    }
    at = String(found.at);
    add(found.lines);
    told.textContent = found.live || !found.slug ? found.heading : `${found.heading} The session has ended.`;
    return found.lines.length > 0;
  };

  const ask = async () => {
    if (document.body.hasAttribute("data-paused")) return false;
    // A reader who has scrolled up keeps the lines there; the rest waits in the file.
    if (!following && lines.childNodes.length >= LINES_MAX) return false;
    const query = slug ? `?${new URLSearchParams({ slug, at })}` : "";
    const answer = await fetch(`${place.dataset.log}${query}`, { cache: "no-store" });
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.error);
    return take(found);
  };

  const again = async () => {
    let more = false;
    try {
      more = await ask();
    } catch {
      told.textContent = "Waiting for the dashboard to answer.";
    }
    timer = setTimeout(again, document.hidden ? 30_000 : more ? 500 : 3000);
  };

  lines.addEventListener("scroll", () => { if (following !== atEnd()) press(atEnd()); });
  button.addEventListener("click", () => {
    press(!following);
    if (following) toEnd();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    clearTimeout(timer);
    again();
  });
  button.hidden = false;
  press(true);
  toEnd();
  again();
}
