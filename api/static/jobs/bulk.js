// @ts-check
// Something done to many jobs at once: asked before, and told after what could not be done.
import { at } from "../web/address.js";
import { ask, explain } from "../web/http.js";
import { element } from "../web/selection.js";

/** @typedef {import("../web/selection.js").Selection} Selection */

const AT_ONCE = 4; // requests under way
const OVER = ["succeeded", "failed", "cancelled"];

/**
 * @param {Selection} selection
 * @param {() => void} changed
 */
export function offer(selection, changed) {
  element("cancel").addEventListener("click", () => cancel(selection, changed));
  element("delete").addEventListener("click", () => remove(selection, changed));
}

/**
 * @param {Selection} selection
 * @param {() => void} changed
 */
async function cancel(selection, changed) {
  const open = selection.ids.filter((id) => !OVER.includes(statusOf(selection, id)));
  const ended = selection.jobs.size - open.length;
  const rest = ended ? ` ${jobs(ended)} of the selection ended already.` : "";
  if (!open.length) return tell("Nothing to cancel", [`All ${selection.jobs.size} ended already.`]);
  const text = `What they have learned since their last checkpoint is lost.${rest}`;
  if (!(await agreed(`Cancel ${jobs(open.length)}?`, text, `Cancel ${jobs(open.length)}`))) return;
  await perform(selection, open, "cancelled", (id) =>
    ask(at(`/v1/jobs/${id}/cancel`), { method: "POST" }),
  );
  changed();
}

/**
 * @param {Selection} selection
 * @param {() => void} changed
 */
async function remove(selection, changed) {
  const ended = selection.ids.filter((id) => OVER.includes(statusOf(selection, id)));
  const open = selection.jobs.size - ended.length;
  const rest = open ? ` ${jobs(open)} of the selection not ended yet will stay.` : "";
  if (!ended.length) return tell("Nothing to delete", ["Only jobs that ended can be deleted."]);
  const text = `Their metrics, logs and files go with them, for good.${rest}`;
  if (!(await agreed(`Delete ${jobs(ended.length)}?`, text, `Delete ${jobs(ended.length)}`))) return;
  await perform(selection, ended, "deleted", (id) =>
    ask(at(`/v1/jobs/${id}`), { method: "DELETE" }),
  );
  changed();
}

/**
 * @param {Selection} selection
 * @param {string[]} ids
 * @param {string} done
 * @param {(id: string) => Promise<any>} request
 */
async function perform(selection, ids, done, request) {
  const waiting = [...ids];
  /** @type {string[]} */
  const failures = [];
  /** @type {string[]} */
  const succeeded = [];
  const said = element("selection-said");
  const work = async () => {
    for (let id = waiting.shift(); id; id = waiting.shift()) {
      try {
        await request(id);
        succeeded.push(id);
      } catch (error) {
        failures.push(`${selection.jobs.get(id)?.title ?? id}: ${explain(error)}`);
      }
      said.textContent = `${succeeded.length + failures.length} of ${ids.length} asked`;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  selection.drop(succeeded);
  if (failures.length) {
    tell(`${succeeded.length} of ${jobs(ids.length)} ${done}, ${failures.length} not`, failures);
  } else {
    element("announcement").textContent = `${jobs(succeeded.length)} ${done}`;
  }
}

/**
 * @param {string} heading
 * @param {string} text
 * @param {string} yes
 * @returns {Promise<boolean>}
 */
function agreed(heading, text, yes) {
  const dialog = /** @type {HTMLDialogElement} */ (element("confirm"));
  element("confirm-heading").textContent = heading;
  element("confirm-text").textContent = text;
  element("confirm-yes").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/**
 * @param {string} heading
 * @param {string[]} lines
 */
function tell(heading, lines) {
  element("outcome-heading").textContent = heading;
  element("outcome-failures").replaceChildren(
    ...lines.map((line) => {
      const item = document.createElement("li");
      item.textContent = line;
      return item;
    }),
  );
  /** @type {HTMLDialogElement} */ (element("outcome")).showModal();
}

/**
 * @param {Selection} selection
 * @param {string} id
 */
function statusOf(selection, id) {
  return selection.jobs.get(id)?.status ?? "";
}

/** @param {number} count */
function jobs(count) {
  return count === 1 ? "1 job" : `${count} jobs`;
}
