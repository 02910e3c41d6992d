// @ts-check
// The log of a job: follows what is printed, and finds lines in all of it.
import { askText, explain, isOfRequest } from "../web/http.js";

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
      const url = `${this.address}?after=${this.text.dataset.after}`;
      const { text: piece, headers } = await askText(url);
      if (piece) {
        this.text.dataset.after = headers.get("X-Log-After") ?? this.text.dataset.after;
        const whole = this.text.textContent + piece;
        this.text.textContent = whole.length > KEPT ? whole.slice(-KEPT) : whole;
        this.#scroll();
        if (this.filter.value) await this.#search();
      }
    } catch (error) {
      if (!isOfRequest(error)) throw error; // the stream says that it is lost, its next message asks again
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
      const { text } = await askText(`${this.address}?q=${encodeURIComponent(wanted)}`);
      if (wanted !== this.filter.value.trim()) return;
      this.found.textContent = text || "No line holds this";
      if (this.follow.checked) this.found.scrollTop = this.found.scrollHeight;
    } catch (error) {
      this.found.textContent = explain(error);
    }
  }

  #scroll() {
    if (this.follow.checked) this.text.scrollTop = this.text.scrollHeight;
  }
}
