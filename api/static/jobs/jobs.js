// @ts-check
// The list of jobs: filters in the address, rows kept live by the stream.
import { at } from "../web/address.js";
import * as bulk from "./bulk.js";
import * as searches from "./searches.js";
import * as keyboard from "../web/keyboard.js";
import { onRefresh, refreshSoon } from "../web/live.js";
import { followForm, followLinks } from "../web/navigation.js";
import { Selection } from "../web/selection.js";
import { Stream } from "../web/stream.js";

const LOOK_AGAIN_MS = 30_000; // for what the stream does not tell: old jobs on a later page

/** Set by links of the list; the form has them as hidden fields for browsers without scripts. */
const BY_LINKS = /^(status|health|sort|sweep|metadata\[.*\])$/;

followLinks();
followForm(/** @type {HTMLFormElement} */ (document.getElementById("filters")), BY_LINKS);

const selection = new Selection();
onRefresh(() => selection.show());
keyboard.listen(selection);
bulk.offer(selection, refreshSoon);
searches.offer();

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
