// @ts-check
// The list of jobs: filters in the address (by htmx), rows kept live by the stream.
import { at } from "./address.js";
import * as bulk from "./bulk.js";
import * as keyboard from "./keyboard.js";
import { onRefresh, refreshSoon } from "./live.js";
import { Selection } from "./selection.js";
import { Stream } from "./stream.js";

const LOOK_AGAIN_MS = 30_000; // for what the stream does not tell: old jobs on a later page

// What is not set stays out of the address; what the form does not ask for stays in it.
document.addEventListener("htmx:configRequest", (event) => {
  const { parameters, elt } = /** @type {CustomEvent} */ (event).detail;
  const form = elt.closest("form");
  if (form?.id === "filters") {
    const here = new URLSearchParams(location.search);
    for (const name of Object.keys(parameters)) {
      if (/^(status|health|sort|metadata\[.*\])$/.test(name)) delete parameters[name];
    }
    for (const name of new Set(here.keys())) {
      if (/^(status|health|sort|metadata\[.*\])$/.test(name)) parameters[name] = here.getAll(name);
    }
  }
  for (const name of Object.keys(parameters)) {
    if (!parameters[name] || parameters[name].length === 0) delete parameters[name];
  }
});

const selection = new Selection();
document.addEventListener("htmx:afterSwap", () => selection.show());
onRefresh(() => selection.show());
keyboard.listen(selection);
bulk.offer(selection, refreshSoon);

// Only changes are sent; the page is read again at `begin`, so nothing before it is missed.
new Stream(at("/v1/stream?snapshot=false"), {
  begin: refreshSoon,
  job: refreshSoon,
  deleted: ({ id }) => {
    selection.drop([id]);
    document.getElementById(id)?.remove();
    refreshSoon();
  },
});
window.setInterval(() => {
  if (!document.hidden) refreshSoon();
}, LOOK_AGAIN_MS);
