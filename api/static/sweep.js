// @ts-check
// One sweep: its table while jobs run, and the buttons.
import { offerActions } from "./actions.js";
import { refreshSoon } from "./live.js";
import { Stream } from "./stream.js";

const root = /** @type {HTMLElement} */ (document.getElementById("sweep"));
const ids = new Set((root.dataset.jobs ?? "").split(","));
const mine = (/** @type {{ id: string }} */ { id }) => {
  if (ids.has(id)) refreshSoon();
};

offerActions(`/v1/sweeps/${root.dataset.id}`, "/sweeps", {
  delete: "Delete this sweep, all its jobs, and their metrics, logs and files?",
  cancel: "Cancel all of its jobs that have not ended? What they have learned is lost.",
});
new Stream("/v1/stream?snapshot=false", { begin: refreshSoon, job: mine, deleted: mine });
