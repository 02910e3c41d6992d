// @ts-check
// Exports of a job: orders them, in "Use elsewhere" and where it predicts, and looks again while one
// is under way.
import { ask, explain, IdempotencyKeys } from "../web/http.js";
import { onRefresh, refreshSoon } from "../web/live.js";

const LOOK_MS = 2000;

/** @param {string} address of the job */
export function offerExports(address) {
  const section = /** @type {HTMLElement} */ (document.getElementById("exports"));
  const refusal = /** @type {HTMLElement} */ (document.getElementById("refusal"));
  let keys = new IdempotencyKeys();
  let waiting = 0;
  document.addEventListener("click", async (event) => {
    const button = event.target instanceof Element && event.target.closest("button");
    if (!button || !button.dataset.export) return;
    const json = JSON.stringify({ target: button.dataset.export });
    refusal.hidden = true;
    button.disabled = true;
    try {
      const headers = { "Idempotency-Key": keys.of(json) };
      await ask(`${address}/exports`, { method: "POST", headers, json });
      keys = new IdempotencyKeys(); // the next order of the same is another one
      refreshSoon();
      look();
    } catch (error) {
      button.disabled = false;
      refusal.textContent = `This could not be done: ${explain(error)}`;
      refusal.hidden = false;
    }
  });
  function look() {
    if (waiting) return;
    waiting = window.setTimeout(() => {
      waiting = 0;
      refreshSoon();
    }, LOOK_MS);
  }
  function lookOn() {
    if (section.querySelector("[data-under-way]")) look();
  }
  onRefresh(lookOn);
  lookOn();
}
