// @ts-check
// The list of jobs: filters in the address (by htmx), rows kept live by the stream.
import { refreshSoon } from "./live.js";
import { Stream } from "./stream.js";

// Filters that are not set stay out of the address.
document.addEventListener("htmx:configRequest", (event) => {
  const { parameters } = /** @type {CustomEvent} */ (event).detail;
  for (const name of Object.keys(parameters)) if (!parameters[name]) delete parameters[name];
});

// The stream begins with every job, also after a break, so nothing that happened is missed.
new Stream("/v1/stream", { job: refreshSoon });
