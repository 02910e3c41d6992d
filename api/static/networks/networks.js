// @ts-check
// Uploading and deleting a network of one's own; the page is loaded again with what there is then.
import { at } from "../web/address.js";
import { ask, explain, IdempotencyKeys } from "../web/http.js";
import { ready } from "../web/ready.js";

const form = /** @type {HTMLFormElement} */ (document.getElementById("upload"));
const file = /** @type {HTMLInputElement} */ (document.getElementById("file"));
const said = /** @type {HTMLElement} */ (document.getElementById("said"));
const button = /** @type {HTMLButtonElement} */ (form.querySelector("button"));
const keys = new IdempotencyKeys();

/**
 * @param {string} doing
 * @param {() => Promise<unknown>} request
 */
async function change(doing, request) {
  button.disabled = true;
  said.textContent = doing;
  try {
    await request();
    location.reload();
  } catch (error) {
    said.textContent = explain(error);
  }
  button.disabled = false;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const chosen = file.files?.[0];
  if (!chosen) return;
  const body = new FormData();
  const given = [...new FormData(form)].filter(([, value]) => typeof value === "string" && value.trim());
  for (const [name, value] of given) body.append(name, value);
  body.append("file", chosen);
  const key = keys.of(`${chosen.name} ${chosen.size} ${chosen.lastModified} ${JSON.stringify(given)}`);
  void change(`${chosen.name} is being sent and checked.`, () =>
    ask(at("/v1/networks"), { method: "POST", body, headers: { "Idempotency-Key": key } }),
  );
});
for (const each of document.querySelectorAll("button[data-network]")) {
  each.addEventListener("click", () => {
    const url = each.getAttribute("data-network") ?? "";
    if (!window.confirm("Delete this network? Jobs that start from it keep its file.")) return;
    void change("", () => ask(url, { method: "DELETE" }));
  });
}
ready();
