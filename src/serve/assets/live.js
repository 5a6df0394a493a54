// Shows times in the zone of the browser, refreshes a page, and takes files that are dropped onto a form. Pages also work
// without this script; the server renders all content, with times in UTC.
"use strict";
(() => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "the zone of this browser";
  // Swedish writes dates and times as the server does: 2026-11-28 22:14:05.
  const format = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });
  const localise = (page) => {
    const today = format.format(new Date()).slice(0, 10);
    for (const time of page.querySelectorAll("time[data-form]")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      const [day, clock] = format.format(at).split(" ");
      const near = day === today ? clock : `${day} ${clock.slice(0, 5)}`;
      const isInTable = time.closest("table") !== null;
      // The tooltip keeps UTC.
      time.textContent = {
        clock: `${day} ${clock}`,
        day,
        relative: isInTable ? near : `${time.textContent} (${near})`,
      }[time.dataset.form];
      delete time.dataset.form;
    }
    const said = page.querySelector("#zone");
    if (said && zone !== "UTC") said.textContent = `Times are in ${zone}, unless they say UTC.`;
  };
  localise(document);
  const regions = () => document.querySelectorAll("[data-live]");
  if (regions().length === 0) return;
  // Show the notice after an action once, and not again when the page is reloaded.
  const address = new URL(location.href);
  if (address.searchParams.has("notice")) {
    address.searchParams.delete("notice");
    history.replaceState(null, "", address);
  }
  const summary = () => document.querySelector("#state")?.textContent ?? "";
  // The held changes, as long as they can be approved.
  const approval = (region) => {
    const held = region.querySelector("[data-set]");
    const isShown = held?.dataset.outdated || held?.querySelector('form[action*="/approve"]');
    return isShown ? held : null;
  };
  // An approval form must not change under the pointer.
  const invalidate = (held) => {
    if (held.dataset.outdated) return;
    held.dataset.outdated = "true";
    const status = document.createElement("p");
    status.setAttribute("role", "status");
    const reload = document.createElement("a");
    reload.href = location.pathname + location.search;
    reload.textContent = "Reload it to see the changes that are held now.";
    status.append("This page is out of date. ", reload);
    const forms = held.querySelectorAll('form[action*="/approve"]');
    forms.forEach((form) => form.remove());
    held.append(status);
  };
  const replace = (fresh) => {
    const before = summary();
    for (const old of regions()) {
      const next = fresh.querySelector(`[data-live="${CSS.escape(old.dataset.live)}"]`);
      const [current, updated] = [approval(old), next && approval(next)];
      const isOther = updated && current?.dataset.set !== updated.dataset.set;
      if (current && (current.dataset.outdated || isOther)) {
        invalidate(current);
        continue;
      }
      // Keep a region that has the focus or an open table.
      const busy = old.contains(document.activeElement) || old.querySelector("details[open]");
      if (next && !busy && next.innerHTML !== old.innerHTML) {
        old.replaceChildren(...document.adoptNode(next).childNodes);
      }
    }
    // For screen readers: announce only the summary, and only if it has changed.
    if (summary() !== before) document.querySelector("#announce").textContent = summary();
  };
  // One failure may be a restart of the server. After more failures, the page may be out of date.
  let lastResponse = new Date();
  let failures = 0;
  const recordResponse = (succeeded) => {
    if (succeeded) lastResponse = new Date();
    failures = succeeded ? 0 : failures + 1;
    const [isStale, stale] = [failures >= 2, document.querySelector("#stale")];
    if (stale.hidden !== isStale) return;
    stale.hidden = !isStale;
    const since = format.format(lastResponse).slice(11);
    stale.textContent = isStale ? `No response since ${since}. This page may be out of date.` : "";
    document.body.classList.toggle("stale", isStale);
  };
  const refresh = async () => {
    const signal = AbortSignal.timeout(10000);
    const response = await fetch(location.href, { redirect: "error", cache: "no-store", signal });
    // An expired session redirects to the login form, which is also an error here.
    if (!response.ok) throw new Error(`${response.status}`);
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    localise(fresh);
    return fresh;
  };
  const poll = async () => {
    const isBusy = document.querySelector(".hero.busy, h1 .badge.busy") !== null;
    if (!document.hidden) {
      const fresh = await refresh().catch(() => null);
      recordResponse(fresh !== null);
      if (fresh !== null) replace(fresh);
    }
    setTimeout(poll, isBusy ? 1000 : 5000);
  };
  setTimeout(poll, 1000);
})();
(() => {
  for (const form of document.querySelectorAll("form[data-drop]")) {
    const input = form.querySelector('input[type="file"]');
    const mark = (isOver) => form.classList.toggle("over", isOver);
    form.addEventListener("dragover", (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      mark(true);
    });
    form.addEventListener("dragleave", () => mark(false));
    form.addEventListener("drop", (event) => {
      event.preventDefault();
      mark(false);
      if (event.dataTransfer.files.length > 0) input.files = event.dataTransfer.files;
    });
  }
})();
