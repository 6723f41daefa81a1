/** Where a code occurs in the data set that the studio was started with. */

import { get } from "./api.js";
import { announce, h, showProblem } from "./dom.js";
import { Overlay } from "./overlay.js";

/** Return how often in words. */
export const times = (count) => (count === 1 ? "once" : `${count} times`);

/** Show images that have a code in a place of the page; their cells that have it are left bright. */
export async function showOccurrences(place, model, code) {
  try {
    const { count, images, of, examples } = await get(`/api/occurrences/${model.name}?code=${code}`);
    const words = `Code ${code} in the data set: ${times(count)}, in ${images} of ${of} images, here as their codes tell them`;
    const list = examples.map(({ image, size, cells }) => {
      const one = new Overlay(`An image with code ${code}`, image, size, () => "");
      const there = new Set(cells.map(([row, column]) => row * size[1] + column));
      one.paint((row, column) => (there.has(row * size[1] + column) ? [0, 0, 0, 0] : [20, 20, 24, 150]));
      return one.sheet;
    });
    place.replaceChildren(h("p", { class: "hint" }, words), h("div", { class: "examples" }, ...list));
    announce(words);
  } catch (error) {
    showProblem(place, error);
  }
}
