// @ts-check
// Predictions: a drawing, an image or a sample is shown to the network, in this browser where it was
// exported for it, else on the server; the answer is shown by time step.
import { count } from "../web/format.js";
import { ask, explain } from "../web/http.js";
import { Here } from "./here.js";
import { Raster } from "./raster.js";
import { svg } from "./spike_stats.js";

const SIDE = 224; // pixels of the pad
const PEN = 20;
const INK = 20 / 28; // of the side, as in MNIST; images of few pixels are filled
const FEW_PIXELS = 12;
const WAIT_MS = 250; // after a stroke
const STEP_MS = 420;
const PLAY_MS = 8000; // of all steps, where there are many

/** @typedef {import("./here.js").Question} Question */

export class PredictForm {
  asked = 0;
  playing = 0;
  here = new Here();
  /** @type {any} */
  answer = null;
  /** @type {Question | null} */
  question = null;

  /**
   * @param {string} url that predicts
   * @param {number | null} newest step of the newest checkpoint
   */
  constructor(url, newest) {
    this.url = url;
    this.newest = newest;
    this.section = /** @type {HTMLElement} */ (document.getElementById("predict"));
    const form = document.getElementById("predict-form");
    if (!form) return; // networks are not run on this server
    form.hidden = false;
    this.result = /** @type {HTMLElement} */ (document.getElementById("predict-result"));
    this.problem = /** @type {HTMLElement} */ (document.getElementById("predict-problem"));
    this.scrub = /** @type {HTMLInputElement} */ (document.getElementById("scrub"));
    this.scrubAt = /** @type {HTMLOutputElement} */ (document.getElementById("scrub-at"));
    this.raster = new Raster();
    this.pad = new Pad(
      /** @type {HTMLCanvasElement} */ (document.getElementById("pad")),
      Number(this.section.dataset.side),
      (question) => this.#ask(question),
    );
    this.#listen();
  }

  #listen() {
    const file = /** @type {HTMLInputElement} */ (document.getElementById("predict-file"));
    file.addEventListener("change", () => {
      if (file.files?.length) this.#ask({ file: file.files[0], type: file.dataset.type });
      file.value = "";
    });
    const sample = /** @type {HTMLInputElement | null} */ (document.getElementById("sample"));
    if (sample) {
      const most = Number(sample.max);
      const take = (/** @type {number} */ index) => {
        sample.value = String((index + most + 1) % (most + 1));
        this.#ask({ sample: Number(sample.value) });
      };
      sample.addEventListener("change", () => take(Number(sample.value)));
      on("sample-before", () => take(Number(sample.value) - 1));
      on("sample-after", () => take(Number(sample.value) + 1));
      on("sample-any", () => take(Math.floor(Math.random() * (most + 1))));
    }
    this.scrub?.addEventListener("input", () => {
      this.#stop();
      this.#show(Number(this.scrub?.value));
    });
    on("predict-again", () => this.question && this.#ask(this.question));
    on("play", () => (this.playing ? this.#stop() : this.#play()));
  }

  /** @param {Question} question */
  async #ask(question) {
    if (!this.problem || !this.result) return;
    const turn = ++this.asked;
    this.question = question;
    this.result.setAttribute("aria-busy", "true");
    if (!this.answer) label("predict-hint", "The network is being loaded …");
    try {
      const answer = await this.#answered(question);
      if (turn !== this.asked) return;
      this.problem.hidden = true;
      this.#take(answer);
    } catch (error) {
      if (turn !== this.asked) return;
      label("predict-hint", "");
      this.problem.textContent = `No prediction: ${explain(error)}`;
      this.problem.hidden = false;
    } finally {
      if (turn === this.asked) this.result.removeAttribute("aria-busy");
    }
  }

  /** @param {Question} question */
  async #answered(question) {
    let where = "on the server";
    try {
      const answer = await this.here.answer(question);
      if (answer) return { ...answer, where: "in your browser" };
    } catch (error) {
      where += `, as snn.wasm did not run here (${/** @type {Error} */ (error).message})`;
    }
    const { drawn, file, sample } = question;
    const body = drawn ? await blobOf(drawn) : file ?? JSON.stringify({ sample });
    const type = body instanceof Blob ? (question.type ?? body.type) : "application/json";
    const headers = { "Content-Type": type };
    const answer = await ask(`${this.url}?detail=true`, { method: "POST", headers, body });
    return { ...answer, where };
  }

  /**
   * A newer network is there: what is shown may be asked of it.
   * @param {number | null} newest step of its checkpoint; null: the training has ended
   */
  renew(newest) {
    this.newest = newest;
    const again = document.getElementById("predict-again");
    if (!again) return;
    again.hidden = !this.answer || this.answer.checkpoint_step === newest;
    again.textContent =
      newest === null ? "Run the finished network" : `Run the checkpoint of step ${count(newest)}`;
  }

  /** @param {any} answer */
  #take(answer) {
    this.answer = answer;
    this.renew(answer.checkpoint_step === null ? null : this.newest);
    this.raster?.take(answer.layers);
    if (this.scrub) this.scrub.max = String(answer.timesteps);
    this.#frame();
    if (window.matchMedia("(prefers-reduced-motion: reduce)").matches) {
      this.#show(answer.timesteps);
    } else {
      this.#play();
    }
  }

  #play() {
    if (!this.answer) return;
    this.#stop();
    const pause = Math.min(STEP_MS, PLAY_MS / this.answer.timesteps);
    const next = (/** @type {number} */ step) => {
      this.#show(step);
      if (step >= this.answer.timesteps) this.#stop();
      else this.playing = window.setTimeout(() => next(step + 1), pause);
    };
    next(1);
    label("play", this.playing ? "Stop" : "Play");
  }

  #stop() {
    window.clearTimeout(this.playing);
    this.playing = 0;
    label("play", "Play");
  }

  /** The rows of the answer, once for all steps, so that nothing jumps. */
  #frame() {
    const { answer } = this;
    const line = document.createElement("div");
    line.className = "answer";
    const said = document.createElement("p");
    said.id = "said";
    line.append(this.#seen(), said);
    const table = document.createElement("table");
    table.className = "scores";
    const body = table.createTBody();
    for (const name of answer.class_names) {
      const row = body.insertRow();
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = name;
      const picture = svg("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none" });
      picture.append(svg("rect", { height: 8, width: 0 }));
      picture.setAttribute("aria-hidden", "true");
      row.append(head);
      row.insertCell().append(picture);
      row.insertCell().className = "number";
    }
    this.result?.replaceChildren(line, table);
  }

  /** What the network sees: an image, or a window on the frames that `#show` moves. */
  #seen() {
    const { answer } = this;
    if (!answer.frames) {
      const image = new Image();
      image.src = answer.image;
      image.alt = "What the network sees";
      image.classList.toggle("in-time", "series" in this.section.dataset);
      return image;
    }
    const [height, width] = answer.frame_size;
    const strip = svg("image", { href: answer.frames, width: width * answer.timesteps, height });
    const view = svg("svg", { id: "frames", role: "img", "aria-label": "What the network sees" });
    view.append(strip);
    return view;
  }

  /** @param {number} step counted from 1 */
  #show(step) {
    const { answer } = this;
    if (!answer || !this.scrub || !this.scrubAt) return;
    if (answer.frames) {
      const [height, width] = answer.frame_size;
      const view = document.getElementById("frames");
      view?.setAttribute("viewBox", `${(step - 1) * width} 0 ${width} ${height}`);
    }
    this.scrub.value = this.scrubAt.value = String(step);
    this.raster?.show(step);
    const all = answer.scores.flat();
    const low = Math.min(0, ...all);
    const high = Math.max(...all, low + 1e-9);
    const best = answer.predictions[step - 1];
    const rows = this.result?.querySelectorAll(".scores tr") ?? [];
    rows.forEach((row, index) => {
      const score = answer.scores[step - 1][index];
      row.classList.toggle("best", index === best);
      row.querySelector("rect")?.setAttribute("width", String((100 * (score - low)) / (high - low)));
      const cell = row.lastElementChild;
      if (cell) cell.textContent = score.toFixed(2).replace("-", "−");
    });
    const said = document.getElementById("said");
    if (!said) return;
    const strong = document.createElement("strong");
    strong.textContent = answer.class_names[best];
    const rest = document.createElement("span");
    rest.className = "soft";
    const truth = answer.label === null ? "" : `; it is ${answer.class_names[answer.label]}`;
    rest.textContent = ` after ${step} of ${answer.timesteps} time steps${truth}`;
    const source = document.createElement("span");
    source.className = "source soft small";
    const { checkpoint_step: of, where } = answer;
    source.textContent = (of === null ? "" : `checkpoint of step ${count(of)}, `) + where;
    said.replaceChildren(strong, rest, source);
  }
}

/** A place to draw on and to drop images on. */
class Pad {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {number} side pixels that the network takes
   * @param {(question: Question) => void} take
   */
  constructor(canvas, side, take) {
    this.canvas = canvas;
    this.side = side;
    this.take = take;
    this.timer = 0;
    this.ctx = /** @type {CanvasRenderingContext2D} */ (
      canvas.getContext("2d", { willReadFrequently: true })
    );
    this.clear();
    let drawing = false;
    canvas.addEventListener("pointerdown", (event) => {
      drawing = true;
      canvas.setPointerCapture(event.pointerId);
      this.ctx.beginPath();
      this.ctx.moveTo(...this.#at(event));
      this.ctx.lineTo(...this.#at(event));
      this.ctx.stroke();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!drawing) return;
      this.ctx.lineTo(...this.#at(event));
      this.ctx.stroke();
    });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, () => {
        if (drawing) this.#sendSoon();
        drawing = false;
      });
    }
    canvas.addEventListener("dragover", (event) => {
      event.preventDefault();
      canvas.classList.add("over");
    });
    canvas.addEventListener("dragleave", () => canvas.classList.remove("over"));
    canvas.addEventListener("drop", (event) => {
      event.preventDefault();
      canvas.classList.remove("over");
      const file = event.dataTransfer?.files[0];
      if (file) take({ file });
    });
    on("clear-pad", () => this.clear());
  }

  clear() {
    window.clearTimeout(this.timer);
    this.ctx.fillStyle = "#000";
    this.ctx.fillRect(0, 0, SIDE, SIDE);
    this.ctx.strokeStyle = "#fff";
    this.ctx.lineWidth = PEN;
    this.ctx.lineCap = this.ctx.lineJoin = "round";
  }

  /**
   * @param {PointerEvent} event
   * @returns {[number, number]}
   */
  #at(event) {
    const scale = SIDE / this.canvas.clientWidth;
    return [event.offsetX * scale, event.offsetY * scale];
  }

  #sendSoon() {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.take({ drawn: this.#centred() }), WAIT_MS);
  }

  /** The drawing in the middle and as large as digits are in data sets. */
  #centred() {
    const { data } = this.ctx.getImageData(0, 0, SIDE, SIDE);
    let [left, top, right, bottom] = [SIDE, SIDE, 0, 0];
    for (let y = 0; y < SIDE; y++) {
      for (let x = 0; x < SIDE; x++) {
        if (data[4 * (y * SIDE + x)] > 40) {
          [left, right] = [Math.min(left, x), Math.max(right, x + 1)];
          [top, bottom] = [Math.min(top, y), Math.max(bottom, y + 1)];
        }
      }
    }
    const target = document.createElement("canvas");
    target.width = target.height = SIDE;
    const ctx = /** @type {CanvasRenderingContext2D} */ (target.getContext("2d"));
    ctx.fillStyle = "#000";
    ctx.fillRect(0, 0, SIDE, SIDE);
    const size = Math.max(right - left, bottom - top);
    if (size <= 0) return target;
    const scale = ((this.side <= FEW_PIXELS ? 1 : INK) * SIDE) / size;
    const [width, height] = [scale * (right - left), scale * (bottom - top)];
    ctx.drawImage(
      this.canvas,
      ...[left, top, right - left, bottom - top],
      ...[(SIDE - width) / 2, (SIDE - height) / 2, width, height],
    );
    return target;
  }
}

/**
 * @param {HTMLCanvasElement} canvas
 * @returns {Promise<Blob>} a PNG
 */
async function blobOf(canvas) {
  return new Promise((resolve, reject) => {
    canvas.toBlob((image) => (image ? resolve(image) : reject(new Error("no image"))), "image/png");
  });
}

/**
 * @param {string} id
 * @param {() => void} action
 */
function on(id, action) {
  document.getElementById(id)?.addEventListener("click", action);
}

/**
 * @param {string} id
 * @param {string} text
 */
function label(id, text) {
  const element = document.getElementById(id);
  if (element) element.textContent = text;
}
