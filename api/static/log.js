// @ts-check
// The log of a job: follows what is printed, and finds lines in all of it.

const EVERY_MS = 1000;
const KEPT = 400_000; // characters
const TYPING_MS = 300;

export class Log {
  /** @param {string} address of the logs */
  constructor(address) {
    this.address = address;
    this.text = /** @type {HTMLElement} */ (document.getElementById("log"));
    this.found = /** @type {HTMLElement} */ (document.getElementById("log-found"));
    this.follow = /** @type {HTMLInputElement} */ (document.getElementById("follow"));
    this.filter = /** @type {HTMLInputElement} */ (document.getElementById("log-filter"));
    this.asked = 0;
    this.timer = 0;
    this.typing = 0;
    this.follow.addEventListener("change", () => this.#scroll());
    this.filter.addEventListener("input", () => {
      window.clearTimeout(this.typing);
      this.typing = window.setTimeout(() => this.#search(), TYPING_MS);
    });
    this.#scroll();
  }

  /** Read what is new, at most once a second. */
  readSoon() {
    if (this.timer) return;
    this.timer = window.setTimeout(() => this.#read(), this.asked + EVERY_MS - Date.now());
  }

  async #read() {
    this.asked = Date.now();
    try {
      const response = await fetch(`${this.address}?after=${this.text.dataset.after}`);
      const piece = await response.text();
      if (response.ok && piece) {
        this.text.dataset.after = response.headers.get("X-Log-After") ?? this.text.dataset.after;
        const whole = this.text.textContent + piece;
        this.text.textContent = whole.length > KEPT ? whole.slice(-KEPT) : whole;
        this.#scroll();
        if (this.filter.value) await this.#search();
      }
    } catch {
      // The stream says that the connection is lost; its next message asks again.
    } finally {
      this.timer = 0;
    }
  }

  async #search() {
    const wanted = this.filter.value.trim();
    this.found.hidden = !wanted;
    this.text.hidden = Boolean(wanted);
    if (!wanted) {
      this.#scroll();
      return;
    }
    try {
      const response = await fetch(`${this.address}?q=${encodeURIComponent(wanted)}`);
      if (wanted !== this.filter.value.trim()) return;
      const lines = await response.text();
      this.found.textContent = response.ok ? lines || "No line holds this" : lines;
      if (this.follow.checked) this.found.scrollTop = this.found.scrollHeight;
    } catch {
      this.found.textContent = "The server does not answer";
    }
  }

  #scroll() {
    if (this.follow.checked) this.text.scrollTop = this.text.scrollHeight;
  }
}
