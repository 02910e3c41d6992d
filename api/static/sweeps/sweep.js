// @ts-check
// One sweep: its table while jobs run, and the buttons.
import { at } from "../web/address.js";
import { offerActions } from "../web/actions.js";
import { refreshSoon } from "../web/live.js";
import { ready } from "../web/ready.js";
import { offerRemarks } from "../web/remarks.js";
import { Stream } from "../web/stream.js";

const root = /** @type {HTMLElement} */ (document.getElementById("sweep"));
const table = /** @type {HTMLElement} */ (document.getElementById("table"));
/** Jobs of others, looked at once: an unknown one may be the retry of one of these. */
const others = new Set();
const perhaps = (/** @type {{ id: string }} */ { id }) => {
  if ((table.dataset.jobs ?? "").split(",").includes(id)) others.delete(id);
  else if (others.has(id)) return;
  else others.add(id);
  refreshSoon();
};

offerActions(at(`/v1/sweeps/${root.dataset.id}`), at("/sweeps"), {
  delete: "Delete this sweep, all its jobs, and their metrics, logs and files?",
  cancel: "Cancel all of its jobs that have not ended? What they have learned is lost.",
});
offerRemarks(at(`/v1/sweeps/${root.dataset.id}`));
ready();
new Stream(at("/v1/stream?snapshot=false"), { begin: refreshSoon, job: perhaps, deleted: perhaps });
