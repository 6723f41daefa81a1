/** A surface of values that is painted on: masks of cells, maps of classes, edges, depths. */

import { announce, canvasOf, h, unique } from "./dom.js";

const UNDO = 60; // strokes

/** Values 0 to 255 of rows x columns, painted by a brush or by rectangles, with pointer or keyboard. */
export class Surface {
  /**
   * @param {object} how
   * @param {number} how.rows
   * @param {number} how.columns
   * @param {(value: number) => number[]} how.colour red, green, blue, alpha of a value
   * @param {string} how.label for screen readers
   * @param {number} [how.empty] the value of what is not painted
   * @param {number} [how.step] values by which the keys move the cursor
   * @param {() => void} [how.onstroke] told after each stroke
   */
  constructor({ rows, columns, colour, label, empty = 0, step = 1, onstroke }) {
    Object.assign(this, {
      colour,
      empty,
      step,
      onstroke,
      tool: "brush",
      value: 255,
      radius: 0.5,
      softness: 0,
      isErasing: false,
    });
    this.under = h("img", { alt: "", hidden: true });
    this.cursor = h("div", { class: "cursor" });
    this.lines = h("div", { class: "cells", hidden: true });
    this.hint = h(
      "small",
      { class: "keys", id: unique("keys") },
      "By keyboard: arrows, space to paint, shift and arrows for a line, Ctrl Z.",
    );
    this.layer = h("div", {
      class: "layer",
      tabindex: 0,
      role: "application",
      "aria-label": label,
      "aria-describedby": this.hint.id,
    });
    this.element = h("div", { class: "surface" }, this.under, this.layer);
    this.resize(rows, columns);
    this.listen();
  }

  /** Begin anew with another size. */
  resize(rows, columns) {
    Object.assign(this, {
      rows,
      columns,
      undone: [],
      at: [Math.floor(columns / 2), Math.floor(rows / 2)],
      corner: null,
    });
    this.values = new Uint8Array(rows * columns).fill(this.empty);
    [this.canvas, this.context] = canvasOf(rows, columns);
    this.canvas.setAttribute("aria-hidden", "true");
    this.layer.replaceChildren(this.canvas, this.lines, this.cursor);
    this.element.style.setProperty("aspect-ratio", `${columns} / ${rows}`);
    this.lines.style.setProperty("background-size", `${100 / columns}% ${100 / rows}%`);
    this.show();
  }

  /** Show a picture under the values, and the borders of cells. */
  over(url) {
    this.under.src = url;
    this.under.hidden = false;
    this.lines.hidden = false;
  }

  listen() {
    const { layer } = this;
    let last = null;
    layer.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      layer.setPointerCapture(event.pointerId);
      this.remember();
      last = this.place(event);
      if (this.tool === "rectangle") this.corner = last;
      else this.stamp(...last);
      this.move(last);
    });
    layer.addEventListener("pointermove", (event) => {
      const here = this.place(event);
      this.move(here);
      if (last === null) return;
      if (this.tool === "rectangle") this.show(here);
      else this.line(last, here);
      last = here;
    });
    const end = (event) => {
      if (last === null) return;
      if (this.tool === "rectangle") this.fill(this.corner, this.place(event));
      last = null;
      this.corner = null;
      this.stroke();
    };
    layer.addEventListener("pointerup", end);
    layer.addEventListener("pointercancel", end);
    layer.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[
      event.key
    ] || [0, 0];
    if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey)) this.undo();
    else if (event.key === " ") this.press();
    else if (dx || dy) {
      const before = this.at;
      this.move([
        clamp(this.at[0] + dx * this.step, this.columns),
        clamp(this.at[1] + dy * this.step, this.rows),
      ]);
      if (event.shiftKey) {
        this.remember();
        this.line(before, this.at);
        this.stroke();
      } else
        announce(
          `column ${this.at[0] + 1}, row ${this.at[1] + 1}${this.values[this.index(...this.at)] === this.empty ? "" : ", painted"}`,
        );
    } else return;
    event.preventDefault();
  }

  press() {
    if (this.tool === "rectangle" && !this.corner) {
      this.corner = this.at;
      announce("first corner");
      return;
    }
    this.remember();
    if (this.corner) this.fill(this.corner, this.at);
    else this.stamp(...this.at);
    this.corner = null;
    this.stroke();
  }

  place(event) {
    const box = this.layer.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * this.columns;
    const y = ((event.clientY - box.top) / box.height) * this.rows;
    return [clamp(Math.floor(x), this.columns), clamp(Math.floor(y), this.rows)];
  }

  move(place) {
    this.at = place;
    const side = 2 * Math.floor(this.radius) + 1;
    const [left, top] = place.map((one) => one + 0.5 - side / 2);
    const share = {
      left: left / this.columns,
      top: top / this.rows,
      width: side / this.columns,
      height: side / this.rows,
    };
    for (const [name, value] of Object.entries(share)) this.cursor.style.setProperty(name, `${100 * value}%`);
    this.cursor.classList.toggle("round", side > 2);
  }

  index(x, y) {
    return y * this.columns + x;
  }

  /** Lay the brush down at a place. */
  stamp(x, y) {
    const far = Math.ceil(this.radius);
    const value = this.isErasing ? this.empty : this.value;
    for (let row = Math.max(0, y - far); row <= Math.min(this.rows - 1, y + far); row += 1) {
      for (let column = Math.max(0, x - far); column <= Math.min(this.columns - 1, x + far); column += 1) {
        const away = Math.hypot(row - y, column - x) / Math.max(this.radius, 0.5);
        if (away > 1) continue;
        const share = this.softness ? (1 - away) ** 2 * (1 - this.softness) : 1;
        const index = this.index(column, row);
        const moved = Math.round((value - this.values[index]) * share);
        this.values[index] += moved || Math.sign(value - this.values[index]) * Number(share > 0.1);
      }
    }
    this.show();
  }

  line([x0, y0], [x1, y1]) {
    const steps = Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0), 1);
    for (let step = 1; step <= steps; step += 1) {
      this.stamp(Math.round(x0 + ((x1 - x0) * step) / steps), Math.round(y0 + ((y1 - y0) * step) / steps));
    }
  }

  /** Fill the rectangle between two corners, both in it. */
  fill([x0, y0], [x1, y1]) {
    for (let row = Math.min(y0, y1); row <= Math.max(y0, y1); row += 1) {
      this.values.fill(
        this.isErasing ? this.empty : this.value,
        this.index(Math.min(x0, x1), row),
        this.index(Math.max(x0, x1), row) + 1,
      );
    }
    this.show();
  }

  /** Set all values at once, as a stroke that can be undone. */
  set(values) {
    this.remember();
    this.values.set(values);
    this.show();
    this.stroke();
  }

  remember() {
    this.undone.push(this.values.slice());
    if (this.undone.length > UNDO) this.undone.shift();
  }

  /** Take the last stroke back. */
  undo() {
    if (!this.undone.length) return;
    this.values = this.undone.pop();
    this.show();
    this.stroke();
    announce("undone");
  }

  stroke() {
    this.onstroke?.();
  }

  show(other = null) {
    const pixels = this.context.createImageData(this.columns, this.rows);
    for (let index = 0; index < this.values.length; index += 1)
      pixels.data.set(this.colour(this.values[index]), 4 * index);
    this.context.putImageData(pixels, 0, 0);
    if (!other || !this.corner) return;
    const [left, right] = [this.corner[0], other[0]].sort((a, b) => a - b);
    const [top, bottom] = [this.corner[1], other[1]].sort((a, b) => a - b);
    this.context.fillStyle = `rgb(${this.colour(this.isErasing ? this.empty : this.value).slice(0, 3)} / 60%)`;
    this.context.fillRect(left, top, right - left + 1, bottom - top + 1);
  }

  /** Return how many values are painted. */
  get painted() {
    return this.values.reduce((count, value) => count + Number(value !== this.empty), 0);
  }

  /** Return the values as a gray PNG, each as scale x scale pixels; codes: what stands for each value in it. */
  toUrl(scale = 1, codes = null) {
    const [canvas, context] = canvasOf(this.rows * scale, this.columns * scale);
    this.values.forEach((found, index) => {
      const value = codes ? codes[found] : found;
      context.fillStyle = `rgb(${value} ${value} ${value})`;
      context.fillRect(
        (index % this.columns) * scale,
        Math.floor(index / this.columns) * scale,
        scale,
        scale,
      );
    });
    return canvas.toDataURL("image/png");
  }

  /** Take an image's gray values, by the nearest pixel; meant: what a gray value stands for. It is no stroke. */
  read(image, meant) {
    const [canvas, context] = canvasOf(this.rows, this.columns);
    context.imageSmoothingEnabled = false;
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    this.remember();
    this.values = this.values.map((_, index) =>
      meant(Math.round((data[4 * index] + data[4 * index + 1] + data[4 * index + 2]) / 3)),
    );
    this.show();
  }
}

const clamp = (value, count) => Math.min(count - 1, Math.max(0, value));
