/** Paint a condition: classes, edges, depths, boxes, points, poses; the picture follows the hand. */

import { isPainted } from "../conditions.js";
import { choice, h, settled } from "../dom.js";
import { Form } from "../form.js";
import { Progress, draw, framed } from "../gallery.js";

const WAIT = 350; // milliseconds after a stroke
const AROUND = 1; // cells around what was painted that are drawn anew with it

/** Make the tab. */
export function create(app) {
  if (!app.able("sample").some(isTold)) return { element: nothing() };
  return new Paint(app);
}

const isTold = (model) => model.conditions.some(isPainted);

function nothing() {
  return h(
    "div",
    { class: "empty" },
    h("h2", {}, "None of the open models is told by painting"),
    h(
      "p",
      {},
      "Models that learned from maps of classes, edges or depths, from boxes, points or poses are painted for here. Open one beside the others:",
    ),
    h("pre", {}, "smalti studio emoji runs/streets"),
  );
}

class Paint {
  constructor(app) {
    Object.assign(this, { app, job: null, base: null, before: null, isLive: true, isPartial: true });
    this.progress = new Progress();
    this.follow = settled(() => this.isLive && this.redraw(), WAIT);
    this.form = new Form(app, {
      can: "sample",
      submit: "Draw",
      only: isTold,
      without: ["num"],
      onsubmit: (request) => this.draw("sample", { ...request, num: 1 }),
      onchange: (what) => this.ready && (what === "stroke" ? this.follow() : this.choose()),
    });
    this.place = h("div", { class: "row" });
    const live = { live: "As I paint", asked: "When I ask" };
    const parts = { part: "Only what changed", whole: "The whole" };
    this.parts = choice(
      "How much is drawn anew",
      parts,
      "part",
      (value) => (this.isPartial = value === "part"),
    );
    const how = h(
      "div",
      { class: "buttons" },
      choice("When it is drawn", live, "live", (value) => (this.isLive = value === "live")),
      this.parts,
    );
    this.element = h(
      "div",
      { class: "bench wide" },
      this.form.element,
      h("div", {}, this.progress.element, h("section", { class: "hung", "data-num": 1 }, this.place), how),
    );
    this.ready = true;
    this.choose();
  }

  /** Begin with another model or size, of what stands on the sheet at first. */
  choose() {
    this.job?.cancel();
    Object.assign(this, { job: null, base: null, before: null });
    this.parts.hidden = !this.surface || !this.form.model.can.includes("complete");
    this.place.replaceChildren(
      ...framed(this.app, { ...this.form.request(), num: 1 }, this.form.size).map(({ element }) => element),
    );
    this.follow();
  }

  /** Return what is painted on, where a part of the picture can follow it alone. */
  get surface() {
    return [...this.form.conditions.values()].map(({ surface }) => surface).find(Boolean);
  }

  redraw() {
    const request = { ...this.form.request(), num: 1 };
    const mask = this.base && this.isPartial && !this.parts.hidden ? this.changes() : null;
    if (mask === "") return;
    if (mask)
      this.draw("complete", { ...request, size: this.form.size, image: this.base.picture.given, mask });
    else this.draw("sample", request);
  }

  /** Draw in the place of what is shown; `base` is the newest finished picture, `before` what was painted then. */
  draw(what, request) {
    this.job?.cancel();
    const painted = this.surface?.values.slice();
    const [tile] = framed(this.app, request, this.form.size, {
      Again: () => this.draw("sample", { ...this.form.request(), num: 1 }),
    });
    if (this.base) tile.image.src = this.base.picture.data;
    this.place.replaceChildren(tile.element);
    const isNewest = () => this.job === job;
    const onimage = () => isNewest() && Object.assign(this, { base: tile, before: painted });
    const onended = () => {
      if (!tile.picture && isNewest() && this.base) this.place.replaceChildren(this.base.element);
    };
    const job = draw(this.app, what, request, { tiles: [tile], progress: this.progress, onimage, onended });
    this.job = job;
  }

  /** Return the mask of the cells in which something was painted since the last picture; "" for none. */
  changes() {
    const { surface, before } = this;
    const { factor } = this.form.model;
    if (!before || before.length !== surface.values.length) return null;
    const [rows, columns] = [surface.rows / factor, surface.columns / factor];
    const changed = new Set();
    surface.values.forEach((value, index) => {
      if (value === before[index]) return;
      const [row, column] = [
        Math.floor(index / surface.columns / factor),
        Math.floor((index % surface.columns) / factor),
      ];
      for (let y = Math.max(0, row - AROUND); y <= Math.min(rows - 1, row + AROUND); y += 1) {
        for (let x = Math.max(0, column - AROUND); x <= Math.min(columns - 1, column + AROUND); x += 1)
          changed.add(y * columns + x);
      }
    });
    return changed.size ? maskOf(changed, rows, columns, factor) : "";
  }
}

function maskOf(cells, rows, columns, factor) {
  const canvas = h("canvas", { width: columns * factor, height: rows * factor });
  const context = canvas.getContext("2d");
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = "#fff";
  for (const cell of cells)
    context.fillRect((cell % columns) * factor, Math.floor(cell / columns) * factor, factor, factor);
  return canvas.toDataURL("image/png");
}
