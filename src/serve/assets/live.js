// Keeps a page fresh. The page is whole without it: every word is made by the server.
"use strict";
(() => {
  const regions = () => document.querySelectorAll("[data-live]");
  if (regions().length === 0) return;
  // What was said of an action is said once, and not again when the page is loaded anew.
  const address = new URL(location.href);
  if (address.searchParams.has("said")) {
    address.searchParams.delete("said");
    history.replaceState(null, "", address);
  }
  const sentence = () => document.querySelector("#state")?.textContent ?? "";
  const approval = (region) => region.querySelector('form[action$="/approve"]');
  // What a press would approve must not change under the pointer.
  const outdate = (form) => {
    const said = document.createElement("p");
    said.setAttribute("role", "status");
    said.textContent = "This page is out of date: load it anew to see what is held now.";
    form.querySelector("button")?.replaceWith(said);
  };
  const replace = (fresh) => {
    const before = sentence();
    for (const old of regions()) {
      const next = fresh.querySelector(`[data-live="${CSS.escape(old.dataset.live)}"]`);
      const [mine, theirs] = [approval(old), next && approval(next)];
      if (mine && theirs && mine.getAttribute("action") !== theirs.getAttribute("action")) {
        outdate(mine);
        continue;
      }
      // What somebody is about to press or has opened stays as it is.
      const busy = old.contains(document.activeElement) || old.querySelector("details[open]");
      if (next && !busy && next.innerHTML !== old.innerHTML) {
        old.replaceChildren(...document.adoptNode(next).childNodes);
      }
    }
    // For those who hear the page: only how it stands, and only when that is new.
    if (sentence() !== before) document.querySelector("#announce").textContent = sentence();
  };
  // Once may be a server that starts anew; more often, what stands here may be long over.
  let lastAnswer = new Date();
  let failures = 0;
  const answered = (isAnswer) => {
    if (isAnswer) lastAnswer = new Date();
    failures = isAnswer ? 0 : failures + 1;
    const [isStale, stale] = [failures >= 2, document.querySelector("#stale")];
    if (stale.hidden !== isStale) return;
    stale.hidden = !isStale;
    const since = lastAnswer.toISOString().slice(11, 19);
    stale.textContent = isStale ? `No answer since ${since}; what stands here may be old.` : "";
    document.body.classList.toggle("stale", isStale);
  };
  const refresh = async () => {
    const signal = AbortSignal.timeout(10000);
    const answer = await fetch(location.href, { redirect: "error", cache: "no-store", signal });
    // Also where the session has ended: that leads to the log-in.
    if (!answer.ok) throw new Error(`${answer.status}`);
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  };
  const look = async () => {
    const isBusy = document.querySelector(".hero.busy, h1 .badge.busy") !== null;
    if (!document.hidden) {
      const fresh = await refresh().catch(() => null);
      answered(fresh !== null);
      if (fresh !== null) replace(fresh);
    }
    setTimeout(look, isBusy ? 1000 : 5000);
  };
  setTimeout(look, 1000);
})();
