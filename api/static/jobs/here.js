// @ts-check
// Predictions in this browser, by the WebAssembly that the job was exported to, with no request to
// the server once it is loaded.
import { decoded, fitted, picture } from "./pixels.js";

/**
 * @typedef {object} Question a drawing, a file or a sample
 * @property {HTMLCanvasElement} [drawn]
 * @property {Blob} [file]
 * @property {string} [type] what the file is, where it does not say so itself
 * @property {number} [sample] of the evaluation split
 */

export class Here {
  #turn = 0;
  /** @type {Worker | null} */
  #worker = null;
  /** @type {Map<number, { resolve: (answer: any) => void, reject: (why: Error) => void }>} */
  #waiting = new Map();

  /**
   * @param {Question} question
   * @returns {Promise<any>} as the server would answer; null where it has to: there is no
   * WebAssembly of this network, or the sample lies there, or only the server reads such files
   */
  async answer({ drawn, file }) {
    const url = document.getElementById("predict-where")?.dataset.wasm;
    if (!url || !(drawn || file)) return null;
    const image = file ? await decoded(file) : pixelsOf(drawn);
    if (!image) return null;
    const { input_shape: shape, frames } = await this.#ask({ url });
    const [channels, height, width] = shape;
    if (frames || ![1, 3].includes(channels)) return null;
    const pixels = Uint8Array.from(fitted(picture(image, channels), width, height));
    const answer = await this.#ask({ url, pixels });
    const same = image.width === width && image.height === height;
    return {
      ...answer,
      image: address(pixels, channels, height, width),
      frames: null,
      frame_size: [height, width],
      scaled_from: same ? null : [image.width, image.height],
    };
  }

  /** @param {{ url: string, pixels?: Uint8Array }} asked */
  #ask(asked) {
    this.#worker ??= this.#started();
    const turn = ++this.#turn;
    this.#worker.postMessage({ turn, ...asked });
    return new Promise((resolve, reject) => this.#waiting.set(turn, { resolve, reject }));
  }

  #started() {
    const worker = new Worker(new URL("./snn_worker.js", import.meta.url), { type: "module" });
    worker.addEventListener("message", ({ data: { turn, answer, error } }) => {
      const asked = this.#waiting.get(turn);
      this.#waiting.delete(turn);
      if (error) asked?.reject(new Error(error));
      else asked?.resolve(answer);
    });
    worker.addEventListener("error", () => {
      for (const { reject } of this.#waiting.values()) reject(new Error("its worker did not start"));
      this.#waiting.clear();
      this.#worker = null;
    });
    return worker;
  }
}

/** @param {HTMLCanvasElement | undefined} canvas */
function pixelsOf(canvas) {
  return canvas?.getContext("2d")?.getImageData(0, 0, canvas.width, canvas.height);
}

/**
 * A picture of what the network sees.
 * @param {Uint8Array} pixels C H W
 * @param {number} channels
 * @param {number} height
 * @param {number} width
 */
function address(pixels, channels, height, width) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const image = new ImageData(width, height);
  const plane = width * height;
  for (let i = 0; i < plane; i++) {
    for (const c of [0, 1, 2]) image.data[4 * i + c] = pixels[(c % channels) * plane + i];
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d")?.putImageData(image, 0, 0);
  return canvas.toDataURL("image/png");
}
