// @ts-check
// The keys of the list. j and k move the focus itself, so that a screen reader follows.
import { element } from "./selection.js";

/** @typedef {import("./selection.js").Selection} Selection */

/** @param {Selection} selection */
export function listen(selection) {
  const help = /** @type {HTMLDialogElement} */ (element("help"));
  element("keys").hidden = false;
  element("help-button").addEventListener("click", () => help.showModal());
  /** @type {Record<string, () => void>} */
  const keys = {
    j: () => move(1),
    k: () => move(-1),
    x: () => current()?.querySelector("input")?.click(),
    c: () => {
      if (selection.comparison) location.assign(selection.comparison);
    },
    n: () => document.getElementById("older")?.click(),
    p: () => document.getElementById("newer")?.click(),
    "/": () => /** @type {HTMLInputElement} */ (element("q")).select(),
    "?": () => help.showModal(),
    Escape: () => selection.clear(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]") || isTyping(event.target)) return;
    const action = keys[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}

/** @param {number} by */
function move(by) {
  const all = [...document.querySelectorAll("#jobs tbody tr")];
  const row = current();
  const index = row ? all.indexOf(row) + by : by > 0 ? 0 : all.length - 1;
  const next = all[Math.max(0, Math.min(all.length - 1, index))];
  const link = /** @type {HTMLElement | null} */ (next?.querySelector(".name a") ?? null);
  link?.focus({ preventScroll: true });
  next?.scrollIntoView({ block: "nearest" });
}

/** @returns {HTMLTableRowElement | null} */
function current() {
  return document.activeElement?.closest("#jobs tbody tr") ?? null;
}

/** @param {EventTarget | null} target */
function isTyping(target) {
  const field = target instanceof HTMLElement ? target.closest("input, select, textarea") : null;
  return field !== null && !(field instanceof HTMLInputElement && field.type === "checkbox");
}
