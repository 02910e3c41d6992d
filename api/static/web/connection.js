// @ts-check
// The line at the top of a page that says when what it shows may be out of date.

export const LOST = "Connection lost, trying again. What you see may be out of date.";

/** @param {string} text empty: all is well */
export function announce(text) {
  const banner = document.getElementById("connection");
  if (!banner || banner.textContent === text) return;
  banner.textContent = text;
  banner.hidden = !text;
}
