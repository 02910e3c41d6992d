// @ts-check
// Which jobs are selected: kept over pages, filters and reloads for as long as the tab lives.

import { at } from "./address.js";

const KEY = "selected-jobs";
const MOST_COMPARED = 12; // as the server has it (api/comparison.py)

/** @typedef {{ title: string, status: string }} Selected */

export class Selection {
  constructor() {
    /** @type {Map<string, Selected>} */
    this.jobs = new Map(JSON.parse(sessionStorage.getItem(KEY) ?? "[]"));
    /** @type {HTMLInputElement | null} */
    this.last = null;
    document.addEventListener("click", (event) => this.#clicked(event));
    document.getElementById("select-none")?.addEventListener("click", () => this.clear());
    window.addEventListener("pageshow", () => this.show());
    this.show();
  }

  get ids() {
    return [...this.jobs.keys()];
  }

  /** The address at which the selected jobs stand side by side; empty where there is none. */
  get comparison() {
    const { size } = this.jobs;
    return size >= 1 && size <= MOST_COMPARED ? at(`/compare?jobs=${this.ids.join(",")}`) : "";
  }

  clear() {
    this.jobs.clear();
    this.show();
  }

  /** @param {Iterable<string>} ids */
  drop(ids) {
    for (const id of ids) this.jobs.delete(id);
    this.show();
  }

  /**
   * @param {HTMLInputElement} box
   * @param {boolean} selected
   */
  #set(box, selected) {
    const row = /** @type {HTMLTableRowElement} */ (box.closest("tr"));
    if (!selected) this.jobs.delete(row.id);
    else this.jobs.set(row.id, { title: titleOf(row), status: row.dataset.status ?? "" });
  }

  /** @param {MouseEvent} event */
  #clicked(event) {
    const box = /** @type {HTMLInputElement} */ (event.target);
    if (box.id === "pick-all") for (const each of boxes()) this.#set(each, box.checked);
    else if (box.name === "jobs") {
      const all = boxes();
      const from = this.last ? all.indexOf(this.last) : -1;
      const to = all.indexOf(box);
      const range =
        event.shiftKey && from >= 0 ? all.slice(Math.min(from, to), Math.max(from, to) + 1) : [box];
      for (const each of range) this.#set(each, box.checked);
      this.last = box;
    } else return;
    this.show();
  }

  /** Make the page say what is selected; call it after rows were exchanged. */
  show() {
    const all = boxes();
    for (const box of all) {
      const row = /** @type {HTMLTableRowElement} */ (box.closest("tr"));
      if (this.jobs.has(row.id)) this.#set(box, true); // its status may be another one
      box.checked = this.jobs.has(row.id);
      row.classList.toggle("selected", box.checked);
    }
    const here = all.filter((box) => box.checked).length;
    const pickAll = /** @type {HTMLInputElement | null} */ (document.getElementById("pick-all"));
    if (pickAll) {
      pickAll.hidden = false;
      pickAll.checked = here > 0 && here === all.length;
      pickAll.indeterminate = here > 0 && here < all.length;
    }
    const { size } = this.jobs;
    element("selection").hidden = !size;
    const elsewhere = size - here ? `, ${size - here} of them not on this page` : "";
    const limit = size > MOST_COMPARED ? `; at most ${MOST_COMPARED} can be compared` : "";
    element("selection-said").textContent = `${size} selected${elsewhere}${limit}`;
    const compare = element("compare");
    if (this.comparison) compare.setAttribute("href", this.comparison);
    else compare.removeAttribute("href");
    sessionStorage.setItem(KEY, JSON.stringify([...this.jobs]));
  }
}

/** @returns {HTMLInputElement[]} */
function boxes() {
  return [...document.querySelectorAll("#jobs tbody input[name=jobs]")].map(
    (box) => /** @type {HTMLInputElement} */ (box),
  );
}

/** @param {HTMLTableRowElement} row */
function titleOf(row) {
  return row.querySelector(".name")?.textContent?.trim() ?? row.id;
}

/** @param {string} id */
export function element(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}
