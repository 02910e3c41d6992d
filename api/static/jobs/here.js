// @ts-check
// Predictions in this browser, by the WebAssembly that the job was exported to, with no request to
// the server once it is loaded, but for samples of the evaluation split, which lie there.
import { ask } from "../web/http.js";
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
   * WebAssembly of this network, or only the server reads such files, or the sample is no image
   */
  async answer({ drawn, file, sample }) {
    const { wasm: url, samples } = document.getElementById("predict-where")?.dataset ?? {};
    if (!url) return null;
    if (sample !== undefined) return await this.#ofSample(url, `${samples}/${sample}`);
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
      ...picturesOf(pixels, channels, height, width),
      scaled_from: same ? null : [image.width, image.height],
    };
  }

  /**
   * @param {string} url of the WebAssembly
   * @param {string} address of the sample
   */
  async #ofSample(url, address) {
    const found = await ask(address).catch(() => null); // the server, asked next, says why
    if (!found) return null;
    const { frames } = await this.#ask({ url });
    const [channels, height, width] = found.shape;
    if (frames || ![1, 3].includes(channels)) return null;
    const pixels = Uint8Array.from(atob(found.pixels), (byte) => byte.charCodeAt(0));
    const answer = await this.#ask({ url, pixels });
    return { ...answer, label: found.label, ...picturesOf(pixels, channels, height, width) };
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
 * What the answer says of the image that the network sees, which had its size.
 * @param {Uint8Array} pixels C H W
 * @param {number} channels
 * @param {number} height
 * @param {number} width
 */
function picturesOf(pixels, channels, height, width) {
  const image = address(pixels, channels, height, width);
  return { image, frames: null, frame_size: [height, width], scaled_from: null };
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
