// @ts-check
// What is saved is the search that is shown, which changes without the page being loaded again.
import { onRefresh } from "../web/live.js";

const PLACES = new Set(["after", "before"]); // in the list, not of the search

/** Let the form that saves a search say what the address of the page says. */
export function offer() {
  const form = /** @type {HTMLElement} */ (document.getElementById("save-search"));
  const query = /** @type {HTMLInputElement} */ (form.querySelector("[name=query]"));
  onRefresh(() => {
    const shown = [...new URLSearchParams(location.search)];
    const kept = shown.filter(([name, value]) => value && !PLACES.has(name));
    query.value = new URLSearchParams(kept).toString();
    form.hidden = !query.value;
  });
}
