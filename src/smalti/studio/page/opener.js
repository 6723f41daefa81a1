/** Opening a picture: by a button, by dropping it, by pasting it. */

import { button, chooser, h, readFile } from "./dom.js";

/**
 * Make a button that opens an image file, and let a place take dropped and pasted ones.
 * @param {string} text on the button
 * @param {(url: string) => void} act told of the picture, a data URL
 * @param {object} how place: the element that takes drops; bytes: the most that a file may have; bad: told of an error
 */
export function opener(text, act, { place, bytes, bad }) {
  const take = async (file) => {
    try {
      if (!file.type.startsWith("image/")) throw new Error(`${file.name || "This"} is no image.`);
      if (file.size > bytes)
        throw new Error(`${file.name} has ${megabytes(file.size)}: the studio takes ${megabytes(bytes)}.`);
      bad(null);
      await act(await readFile(file));
    } catch (error) {
      bad(error);
    }
  };
  const input = chooser(take);
  const over = (is) => (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    place.classList.toggle("over", is);
  };
  place.addEventListener("dragover", over(true));
  place.addEventListener("dragleave", over(false));
  place.addEventListener("drop", (event) => {
    over(false)(event);
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
  place.addEventListener("paste", (event) => {
    const [file] = event.clipboardData.files;
    if (file) take(file);
  });
  return h(
    "span",
    { class: "opener" },
    button(text, () => input.click()),
    input,
  );
}

const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(bytes < 2 ** 20 ? 1 : 0)} MB`;
