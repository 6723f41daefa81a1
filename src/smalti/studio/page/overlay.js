/** A picture with its cells: colours laid over them, a readout of the one that is pointed at. */

import { canvasOf, h } from "./dom.js";

/** A picture under a grid of rows x columns cells. */
export class Overlay {
  /** label: for screen readers; read: words for the cell at (row, column). */
  constructor(label, url, [rows, columns], read) {
    [this.canvas, this.context] = canvasOf(rows, columns);
    this.canvas.setAttribute("aria-hidden", "true");
    this.told = h("p", { class: "told" }, " ");
    const picture = h("img", { src: url, alt: label });
    this.sheet = h("div", { class: "overlay" }, picture, this.canvas);
    this.sheet.style.setProperty("aspect-ratio", `${columns} / ${rows}`);
    this.element = h("div", {}, this.sheet, this.told);
    this.sheet.addEventListener("pointermove", (event) => {
      const box = this.sheet.getBoundingClientRect();
      const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      const cell = [Math.min(rows - 1, Math.floor(y * rows)), Math.min(columns - 1, Math.floor(x * columns))];
      if (cell.every((one) => one >= 0)) this.told.textContent = read(...cell);
    });
  }

  /** Colour every cell: colour(row, column) gives red, green, blue, alpha. */
  paint(colour) {
    const pixels = this.context.createImageData(this.canvas.width, this.canvas.height);
    for (let index = 0; index < pixels.data.length / 4; index += 1) {
      pixels.data.set(colour(Math.floor(index / this.canvas.width), index % this.canvas.width), 4 * index);
    }
    this.context.putImageData(pixels, 0, 0);
  }
}

/** Return a colour of a share from 0 to 1: dark blue, violet, orange, pale yellow. */
export function heat(share) {
  const stops = [
    [18, 20, 70],
    [112, 38, 130],
    [214, 82, 68],
    [249, 166, 62],
    [252, 243, 190],
  ];
  const at = Math.min(0.9999, Math.max(0, share)) * (stops.length - 1);
  const [from, to] = [stops[Math.floor(at)], stops[Math.floor(at) + 1]];
  return from.map((value, index) => Math.round(value + (to[index] - value) * (at % 1)));
}
