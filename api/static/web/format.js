// @ts-check
// Numbers and times as the templates write them (api/web/formatting.py); a test compares the two.

/**
 * A length of time in at most two units.
 * @param {number} seconds
 */
export function duration(seconds) {
  const whole = Math.round(seconds);
  /** @type {[string, number, string, number][]} */
  const units = [
    ["d", 86400, "h", 3600],
    ["h", 3600, "min", 60],
    ["min", 60, "s", 1],
  ];
  for (const [name, length, part, of] of units) {
    if (whole >= length) {
      const rest = Math.floor((whole % length) / of);
      const most = `${Math.floor(whole / length)} ${name}`;
      return rest ? `${most} ${rest} ${part}` : most;
    }
  }
  return `${whole} s`;
}

/**
 * How long ago a time was, in one unit.
 * @param {string} moment ISO 8601
 */
export function age(moment) {
  const seconds = Math.max(0, (Date.now() - Date.parse(moment)) / 1000);
  for (const [name, length] of /** @type {[string, number][]} */ ([
    ["d", 86400],
    ["h", 3600],
    ["min", 60],
  ])) {
    if (seconds >= length) return `${Math.floor(seconds / length)} ${name}`;
  }
  return `${Math.floor(seconds)} s`;
}

/** @param {number | null | undefined} value */
export function number(value) {
  if (value == null) return "NaN";
  const size = Math.abs(value);
  if (value !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

/**
 * @param {number | null | undefined} value
 * @param {number} digits
 */
export function percent(value, digits = 2) {
  return value == null ? "–" : `${(100 * value).toFixed(digits)} %`;
}

/**
 * A value of a metric: shares in percent, times in milliseconds.
 * @param {number | null} value
 * @param {string} name
 */
export function metric(value, name) {
  if (value == null) return "NaN";
  if (name.endsWith("accuracy") || name.startsWith("firing_rate")) return percent(value);
  if (name === "device_use") return percent(value, 0);
  if (name.endsWith("_bytes")) return size(Math.trunc(value));
  if (name.endsWith("_seconds")) return `${Number((1000 * value).toPrecision(3))} ms`;
  return number(value);
}

/**
 * `512 bytes`, `1.5 MiB`, as saf/sizes.py.
 * @param {number} bytes
 */
export function size(bytes) {
  let value = bytes;
  for (const unit of ["bytes", "KiB", "MiB", "GiB"]) {
    if (value < 1024) return unit === "bytes" ? `${value} bytes` : `${value.toFixed(1)} ${unit}`;
    value /= 1024;
  }
  return `${value.toFixed(1)} TiB`;
}

/** @param {number} number of things */
export function count(number) {
  return number.toLocaleString("en");
}
