// @ts-check
// Drawings and images as a network takes them: gray or RGB as its samples, cut to their proportions
// around the middle, and scaled. The numbers are those of Pillow, which does it on the server
// (saf/data/images/decode.py); tests compare them.

/**
 * @typedef {object} Picture
 * @property {number} width
 * @property {number} height
 * @property {ArrayLike<number>[]} planes one, gray, or three; rows from top to bottom, 0…255
 */

const PLAIN = new Set(["IHDR", "IDAT", "IEND", "pHYs", "tIME", "sRGB"]);
const LARGEST = 4096; // pixels on a side that the server takes
const BITS = 22; // of the fractions by which pixels are weighed
const SIGN = [137, 80, 78, 71, 13, 10, 26, 10]; // of a PNG

/**
 * An image that browsers decode as the server does: a PNG of 8 bits, gray or RGB, without
 * transparency, profiles, orientation or animation. Null for any other.
 * @param {Blob} file
 * @returns {Promise<ImageData | null>}
 */
export async function decoded(file) {
  if (!isPlain(await file.arrayBuffer())) return null;
  const how = /** @type {const} */ ({ colorSpaceConversion: "none", premultiplyAlpha: "none" });
  try {
    const bitmap = await createImageBitmap(file, how);
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const ctx = canvas.getContext("2d", { willReadFrequently: true });
    if (!ctx || Math.max(bitmap.width, bitmap.height) > LARGEST) return null;
    ctx.drawImage(bitmap, 0, 0);
    return ctx.getImageData(0, 0, bitmap.width, bitmap.height);
  } catch {
    return null; // the server says what is wrong with it
  }
}

/** @param {ArrayBuffer | ArrayLike<number>} content of a file */
export function isPlain(content) {
  const bytes = new Uint8Array(content);
  if (bytes.length < 33 || SIGN.some((byte, at) => bytes[at] !== byte)) return false;
  const [depth, colour] = [bytes[24], bytes[25]];
  if (depth !== 8 || (colour !== 0 && colour !== 2)) return false;
  const view = new DataView(bytes.buffer);
  for (let at = 8; at + 12 <= bytes.length; ) {
    if (!PLAIN.has(String.fromCharCode(...bytes.subarray(at + 4, at + 8)))) return false;
    at += 12 + view.getUint32(at);
  }
  return true;
}

/**
 * The pixels of a canvas without transparency, as one plane of gray or three of colours.
 * @param {ImageData} image
 * @param {number} channels 1 or 3
 * @returns {Picture}
 */
export function picture({ width, height, data }, channels) {
  const planes = Array.from({ length: channels }, () => new Uint8Array(width * height));
  for (let i = 0; i < width * height; i++) {
    const [r, g, b] = [data[4 * i], data[4 * i + 1], data[4 * i + 2]];
    if (channels === 1) planes[0][i] = (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16;
    else [planes[0][i], planes[1][i], planes[2][i]] = [r, g, b];
  }
  return { width, height, planes };
}

/**
 * Scaled until it covers a size, and cropped to it in the middle.
 * @param {Picture} image
 * @param {number} width
 * @param {number} height
 * @returns {number[]} C H W, from 0 to 255
 */
export function fitted(image, width, height) {
  const same = image.width === width && image.height === height;
  const shrinks = image.width >= width && image.height >= height;
  const ratio = width / height;
  let [across, down] = [image.width, image.height];
  if (across / down > ratio) across = ratio * down;
  else if (across / down < ratio) down = across / ratio;
  const left = (image.width - across) / 2;
  const top = (image.height - down) / 2;
  const columns = weights(image.width, left, left + across, width, shrinks);
  const rows = weights(image.height, top, top + down, height, shrinks);
  // Each pass rounds, so their order counts; Pillow begins with that which leaves less to the other.
  const lower = image.height - height;
  const downFirst = lower > 0 && lower > 2 * (image.width - width);
  return image.planes.flatMap((plane) => {
    if (same) return Array.from(plane);
    if (downFirst) return inColumns(inRows(plane, image.width, rows), image.width, columns);
    return inRows(inColumns(plane, image.width, columns), width, rows);
  });
}

/** @typedef {{ first: number, parts: number[] }[]} Weights of the pixels of a line, for each new one */

/**
 * Each row with as many pixels as there are weights.
 * @param {ArrayLike<number>} plane
 * @param {number} width
 * @param {Weights} columns
 */
function inColumns(plane, width, columns) {
  return Array.from({ length: plane.length / width }, (_, y) =>
    columns.map(({ first, parts }) => sum(parts, (i) => plane[y * width + first + i])),
  ).flat();
}

/**
 * As many rows as there are weights.
 * @param {ArrayLike<number>} plane
 * @param {number} width
 * @param {Weights} rows
 */
function inRows(plane, width, rows) {
  return rows.flatMap(({ first, parts }) =>
    Array.from({ length: width }, (_, x) => sum(parts, (i) => plane[(first + i) * width + x])),
  );
}

/**
 * What each new pixel of a line is made of.
 * @param {number} count of the line
 * @param {number} from
 * @param {number} to
 * @param {number} wanted how many pixels the part of it from `from` to `to` becomes
 * @param {boolean} shrinks by the mean of the pixels, else bilinearly
 * @returns {Weights}
 */
function weights(count, from, to, wanted, shrinks) {
  const [start, end] = [Math.fround(from), Math.fround(to)];
  const scale = Math.fround(end - start) / wanted;
  const wide = Math.max(scale, 1);
  const reach = (shrinks ? 0.5 : 1) * wide;
  return Array.from({ length: wanted }, (_, number) => {
    const centre = start + (number + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const last = Math.min(count, Math.trunc(centre + reach + 0.5));
    const own = Array.from({ length: last - first }, (_, i) => {
      const away = (i + first - centre + 0.5) * (1 / wide);
      if (shrinks) return away > -0.5 && away <= 0.5 ? 1 : 0;
      return Math.max(0, 1 - Math.abs(away));
    });
    const total = own.reduce((all, part) => all + part, 0);
    const parts = own.map((part) => Math.trunc(0.5 + (part / total) * 2 ** BITS));
    return { first, parts };
  });
}

/**
 * @param {number[]} parts in units of 2^−22
 * @param {(i: number) => number} pixel
 */
function sum(parts, pixel) {
  const all = parts.reduce((found, part, i) => found + part * pixel(i), 2 ** (BITS - 1));
  return Math.min(255, Math.floor(all / 2 ** BITS));
}
