// @ts-check
// The buttons of a page that ask the server to do something with the one thing it shows.
import { ask, explain } from "./http.js";
import { refreshSoon } from "./live.js";

/**
 * Buttons in `#actions` with a `data-action`: `delete` deletes, others are sent to `address/action`;
 * what the server refuses is told in `#refusal`.
 * @param {string} address of the thing
 * @param {string} home where to go when it is deleted
 * @param {Record<string, string>} questions asked before an action
 */
export function offerActions(address, home, questions) {
  const refusal = /** @type {HTMLElement} */ (document.getElementById("refusal"));
  document.getElementById("actions")?.addEventListener("click", async (event) => {
    const button = /** @type {Element} */ (event.target).closest("button");
    const action = button?.dataset.action;
    if (!button || !action) return;
    const question = questions[action];
    if (question && !window.confirm(question)) return;
    refusal.hidden = true;
    button.disabled = true;
    try {
      const remove = action === "delete";
      const answer = await ask(remove ? address : `${address}/${action}`, {
        method: remove ? "DELETE" : "POST",
      });
      if (remove) {
        location.assign(home);
        return;
      }
      if (action === "retry") location.assign(answer.urls.page);
    } catch (error) {
      refusal.textContent = `This could not be done: ${explain(error)}`;
      refusal.hidden = false;
    }
    button.disabled = false;
    refreshSoon();
  });
}
