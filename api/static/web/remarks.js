// @ts-check
// The form of what people write on a thing: tags, notes, favourite, and the name of some.
import { ask, explain } from "./http.js";
import { refreshSoon, set } from "./live.js";

/** @param {string} address of the thing in the API */
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
      name: fields.get("name") ?? undefined,
      notes: fields.get("notes"),
      tags,
      favourite: fields.has("favourite"),
    });
    button.disabled = true;
    try {
      const thing = await ask(address, { method: "PATCH", json });
      const heading = document.querySelector("h1");
      if (heading) set(heading, thing.name || thing.id);
      set(said, "Saved.");
      refreshSoon();
    } catch (error) {
      set(said, `This could not be saved: ${explain(error)}`);
    }
    button.disabled = false;
  });
}
