// @ts-check
// The small form of a finished job that trains it for more epochs: makes a new job, and goes there.

/** @param {string} address of the job */
export function offerMoreEpochs(address) {
  const refusal = /** @type {HTMLElement} */ (document.getElementById("refusal"));
  // The same click sent twice (a lost answer) makes one job: a key for each number.
  let sent = { body: "", key: "" };
  document.getElementById("actions")?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.target);
    const button = /** @type {HTMLButtonElement} */ (form.querySelector("button"));
    const text = String(new FormData(form).get("epochs")).trim();
    // A text that is no number is sent as it is: the server says what it wants instead.
    const body = JSON.stringify({ epochs: Number.isFinite(Number(text)) ? Number(text) : text });
    if (sent.body !== body) sent = { body, key: key() };
    refusal.hidden = true;
    button.disabled = true;
    try {
      const response = await fetch(`${address}/continue`, {
        method: "POST",
        headers: { "Content-Type": "application/json", "Idempotency-Key": sent.key },
        body,
      });
      const answer = await response.json();
      if (!response.ok) throw new Error(answer.detail);
      location.assign(answer.urls.page);
      return;
    } catch (error) {
      refusal.textContent = `This could not be done: ${/** @type {Error} */ (error).message}`;
      refusal.hidden = false;
    }
    button.disabled = false;
  });
}

/** crypto.randomUUID exists on https and loopback alone. */
function key() {
  return [...crypto.getRandomValues(new Uint8Array(16))]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");
}
