// @ts-check
// The form of what people write on a job: name, tags, notes, favourite.
import { ask, explain } from "../web/http.js";
import { refreshSoon, set } from "../web/live.js";

/** @param {string} address of the job */
export function offerRemarks(address) {
  const form = document.getElementById("remarks-form");
  if (!(form instanceof HTMLFormElement)) return;
  const said = /** @type {HTMLElement} */ (document.getElementById("remarks-said"));
  const button = /** @type {HTMLButtonElement} */ (form.querySelector("button"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const fields = new FormData(form);
    const tags = String(fields.get("tags"))
      .split(",")
      .map((tag) => tag.trim())
      .filter(Boolean);
    const json = JSON.stringify({
      name: fields.get("name"),
      notes: fields.get("notes"),
      tags,
      favourite: fields.has("favourite"),
    });
    button.disabled = true;
    try {
      const job = await ask(address, { method: "PATCH", json });
      const heading = document.querySelector("h1");
      if (heading) set(heading, job.name || job.id);
      set(said, "Saved.");
      refreshSoon();
    } catch (error) {
      set(said, `This could not be saved: ${explain(error)}`);
    }
    button.disabled = false;
  });
}
