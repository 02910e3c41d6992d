// @ts-check
// The small form of a finished job that trains it for more epochs: makes a new job, and goes there.
import { ask, explain, IdempotencyKeys } from "../web/http.js";

/** @param {string} address of the job */
export function offerMoreEpochs(address) {
  const refusal = /** @type {HTMLElement} */ (document.getElementById("refusal"));
  const keys = new IdempotencyKeys();
  document.getElementById("actions")?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.target);
    const button = /** @type {HTMLButtonElement} */ (form.querySelector("button"));
    const text = String(new FormData(form).get("epochs")).trim();
    // A text that is no number is sent as it is: the server says what it wants instead.
    const json = JSON.stringify({ epochs: Number.isFinite(Number(text)) ? Number(text) : text });
    refusal.hidden = true;
    button.disabled = true;
    try {
      const headers = { "Idempotency-Key": keys.of(json) };
      const answer = await ask(`${address}/continue`, { method: "POST", headers, json });
      location.assign(answer.urls.page);
      return;
    } catch (error) {
      refusal.textContent = `This could not be done: ${explain(error)}`;
      refusal.hidden = false;
    }
    button.disabled = false;
  });
}
