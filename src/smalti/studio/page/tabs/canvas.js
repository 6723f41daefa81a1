/** Canvas: a picture of any size, which grows where its borders are dragged to. */

import { announce, button, h, showProblem } from "../dom.js";
import { Form } from "../form.js";
import { Progress, draw } from "../gallery.js";
import { opener } from "../opener.js";
import { Picture } from "../pictures.js";
import { titled } from "../words.js";
import { save } from "../viewer.js";

const SIDES = { top: "up", right: "to the right", bottom: "down", left: "to the left" };
const KEYS = {
  top: ["ArrowUp", "ArrowDown"],
  right: ["ArrowRight", "ArrowLeft"],
  bottom: ["ArrowDown", "ArrowUp"],
  left: ["ArrowLeft", "ArrowRight"],
};
const ROOM = 560; // of the screen's pixels, that a canvas is high at most

/** Make the tab. */
export function create(app) {
  return new Canvas(app);
}

class Canvas {
  constructor(app) {
    Object.assign(this, { app, shown: null, size: null, job: null, before: [], grow: null });
    this.problem = h("div");
    this.progress = new Progress();
    this.form = new Form(app, {
      can: "grow",
      submit: "Begin anew",
      without: ["num"],
      mixes: true,
      onsubmit: (request) => this.begin(request),
    });
    this.picture = h("img", { alt: "" });
    this.plot = h(
      "div",
      { class: "plot" },
      h("div", { class: "cells" }),
      this.picture,
      ...Object.keys(SIDES).map((side) => this.handle(side)),
    );
    this.ground = h("div", { class: "ground" }, this.plot);
    this.told = h("span", { class: "told" });
    this.back = button("Back", () => this.step(), { disabled: true });
    this.links = h("span", { class: "buttons" });
    const hint =
      "Drag a border outward: the model goes on from what is there, in the words that stand in the form. By keyboard: Tab to a border, arrows, Enter.";
    this.element = h(
      "div",
      { class: "bench" },
      this.form.element,
      h(
        "div",
        {},
        this.progress.element,
        this.problem,
        this.ground,
        h("div", { class: "buttons below" }, this.told, this.back, this.links),
        h("p", { class: "hint" }, hint),
      ),
    );
    const bad = (error) => showProblem(this.problem, error);
    this.form.element.prepend(
      opener("Open a picture …", async (url) => this.open(await Picture.read(url)), {
        place: this.element,
        bytes: app.limits.upload_bytes,
        bad,
      }),
    );
    new ResizeObserver(() => this.lay()).observe(this.ground);
  }

  get factor() {
    return this.form.model.factor;
  }

  show() {
    if (this.shown || !this.form.model) return;
    if (this.app.latest && this.form.models.some(({ name }) => name === this.app.latest.request.model))
      this.receive(this.app.latest.payload);
    else this.size = this.form.size;
    this.lay();
  }

  receive({ picture, request }) {
    this.form.fill(request);
    return this.open(picture);
  }

  async open(picture) {
    this.keep();
    this.put(await picture.forModel(this.form.model, this.app.limits.pixels));
  }

  /** Show a picture as the canvas. */
  put(picture) {
    Object.assign(this, { shown: picture, size: picture.size, grow: null });
    this.picture.src = picture.data;
    this.picture.alt = `Canvas of ${picture.size[1]} times ${picture.size[0]} pixels`;
    this.back.disabled = !this.before.length;
    const go = (name, text) =>
      button(text, () =>
        this.app.open(name, { picture: this.shown, request: { ...this.form.request(), num: 1 } }),
      );
    this.links.replaceChildren(
      save({ picture, title: "canvas", seed: this.form.seed.value }),
      go("complete", "Edit"),
      go("inside", "Look inside"),
    );
    this.lay();
  }

  /** Lay out the picture within what it may grow to. */
  lay(scale = null) {
    if (!this.size || !this.ground.clientWidth) return;
    const more = this.grow || { top: 0, right: 0, bottom: 0, left: 0 };
    const [height, width] = this.size;
    const [tall, wide] = [height + more.top + more.bottom, width + more.left + more.right];
    this.scale = scale || Math.min(10, (this.ground.clientWidth - 60) / wide, ROOM / tall);
    const put = (element, sides) =>
      Object.entries(sides).forEach(([name, value]) =>
        element.style.setProperty(name, `${value * this.scale}px`),
      );
    put(this.plot, { width: wide, height: tall });
    put(this.picture, { left: more.left, top: more.top, width, height });
    const cell = `${this.factor * this.scale}px`;
    this.plot.firstChild.style.setProperty("background-size", `${cell} ${cell}`);
    this.told.textContent = `${wide} × ${tall} pixels`;
  }

  handle(side) {
    const grip = button("", () => {}, { class: `grip ${side}`, "aria-label": `Grow ${SIDES[side]}` });
    const isAcross = side === "left" || side === "right";
    const sign = side === "left" || side === "top" ? -1 : 1;
    let begun = null;
    grip.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !this.shown || this.job) return;
      grip.setPointerCapture(event.pointerId);
      begun = { at: isAcross ? event.clientX : event.clientY, scale: this.scale };
    });
    grip.addEventListener("pointermove", (event) => {
      if (!begun) return;
      const moved = (sign * ((isAcross ? event.clientX : event.clientY) - begun.at)) / begun.scale;
      this.pull(side, Math.round(moved / this.factor), begun.scale);
    });
    grip.addEventListener("pointerup", () => {
      if (begun) this.goOn();
      begun = null;
    });
    grip.addEventListener("keydown", (event) => {
      const [out, back] = KEYS[side];
      const cells = (this.grow?.[side] || 0) / this.factor;
      if (event.key === out) this.pull(side, cells + 1);
      else if (event.key === back) this.pull(side, cells - 1);
      else if (event.key === "Escape") this.pull(side, 0);
      else if (event.key === "Enter") this.goOn();
      else return;
      event.preventDefault();
      if (event.key !== "Enter") announce(this.told.textContent);
    });
    return grip;
  }

  /** Let one side grow by so many cells, as far as the studio takes so many pixels. */
  pull(side, cells, scale = null) {
    if (!this.shown || this.job) return;
    const before = this.grow;
    this.grow = {
      top: 0,
      right: 0,
      bottom: 0,
      left: 0,
      ...this.grow,
      [side]: Math.max(0, cells) * this.factor,
    };
    const { top, right, bottom, left } = this.grow;
    const { pixels } = this.app.limits;
    const isLarge = (this.size[0] + top + bottom) * (this.size[1] + left + right) > pixels;
    if (isLarge) this.grow = before;
    this.lay(scale);
    if (isLarge) this.told.textContent += `: the studio draws ${pixels} at most`;
  }

  /** Draw what the canvas grew by; what is there keeps its codes. */
  goOn() {
    const more = this.grow;
    this.lay();
    if (!more || !Object.values(more).some(Boolean)) return;
    const size = [this.size[0] + more.top + more.bottom, this.size[1] + more.left + more.right];
    const at = [more.top / this.factor, more.left / this.factor];
    this.draw("complete", { ...this.form.request(), num: 1, size, image: this.shown.given, at }, size);
  }

  begin(request) {
    if (this.job) return;
    const size = request.size || this.form.model.sizes[0];
    Object.assign(this, { size, grow: null });
    this.picture.removeAttribute("src");
    this.lay();
    this.draw("sample", { ...request, num: 1 }, size);
  }

  /** Remember what is there, so that one can go back to it. */
  keep() {
    if (this.shown) this.before.push(this.shown);
  }

  /** Ask for the picture and show it in the canvas's place, also while it is drawn. */
  draw(what, request, size) {
    showProblem(this.problem, null);
    const tile = {
      picture: null,
      progress: ({ preview }) => {
        if (!preview) return;
        this.picture.src = preview;
        Object.assign(this, { size, grow: null });
        this.lay();
      },
      finish: async ({ url }) => {
        tile.url = url;
        tile.picture = await Picture.read(url);
      },
      drop: () => {},
    };
    const ended = () => {
      this.job = null;
      if (tile.picture) this.keep();
      const found = tile.picture || this.shown;
      if (found) this.put(found);
    };
    this.job = draw(this.app, what, request, { tiles: [tile], progress: this.progress, onended: ended });
    this.picture.alt = titled(request.condition);
  }

  step() {
    const before = this.before.pop();
    if (before) this.put(before);
  }
}
