// Live regions: what an event is about is fetched again by htmx. Everything can be read without this.
"use strict";

const PAUSE = 700; // milliseconds between two refreshes of a region
const RETRY = 30000;
const due = new Set();
let source = null;

function matches(region, event) {
  const kind = event.subject.split(":")[0];
  return region.dataset.live.split(" ").some((want) =>
    want === "*" || want === kind || want === event.subject || want === `workflow:${event.workflow_id}`);
}

function isBusy(region) {
  const focus = document.activeElement;
  return region.contains(focus) && focus.matches("input, select, textarea") || region.querySelector("details[open] form") !== null;
}

// all regions that are due come with one request
function refresh(region) {
  if (!window.htmx || document.hidden) return;
  due.add(region.id);
  if (due.size === 1) setTimeout(fetchDue, PAUSE);
}

function fetchDue() {
  const regions = [...due].map((id) => document.getElementById(id)).filter((each) => each && !isBusy(each));
  due.clear();
  if (!regions.length) return;
  const [first, ...others] = regions;
  window.htmx.ajax("GET", location.pathname + location.search, {
    target: first, swap: "outerHTML", select: `#${first.id}`,
    selectOOB: others.map((each) => `#${each.id}`).join(",") || undefined,
  });
}

function follow() {
  if (source || document.hidden || !document.body.dataset.stream) return;
  source = new EventSource(document.body.dataset.stream);
  source.onopen = () => { document.querySelector(".offline").hidden = true; };
  source.onmessage = (message) => {
    const event = JSON.parse(message.data);
    for (const region of document.querySelectorAll("[data-live]")) if (matches(region, event)) refresh(region);
  };
  source.addEventListener("reset", () => location.reload());
  source.onerror = () => {
    document.querySelector(".offline").hidden = false;
    if (source.readyState === EventSource.CLOSED) { source = null; setTimeout(follow, RETRY); }
  };
}

function poll() {
  const now = Date.now();
  for (const region of document.querySelectorAll("[data-poll]")) {
    const due = Number(region.dataset.due || 0);
    if (!due) region.dataset.due = String(now + 1000 * region.dataset.poll);
    else if (now >= due) { delete region.dataset.due; refresh(region); }
  }
}

// the menu of a narrow screen is one row: show where we are in it
document.querySelector("nav [aria-current=page]")?.scrollIntoView({ block: "nearest", inline: "center" });
// one stream per browser window that is looked at: browsers allow six connections to a host
document.addEventListener("visibilitychange", () => {
  if (document.hidden && source) { source.close(); source = null; } else follow();
});
// what was posted is shown by a POST; a refresh of its regions would lose it
if (document.querySelector("#plan, .box[role=alert]") === null) { follow(); setInterval(poll, 500); }
