// @ts-check
// Controls that do nothing without the script of their page: the server sends them disabled, in a
// `fieldset.scripted` outside of what is live, so that no click is lost before the script listens.

/** Call this once the page listens to its controls. */
export function ready() {
  for (const controls of document.querySelectorAll("fieldset.scripted")) {
    controls.removeAttribute("disabled");
  }
}
