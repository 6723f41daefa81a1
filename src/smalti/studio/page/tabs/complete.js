/** Complete and edit: paint what is to be drawn anew, look at proposals, take one, go on. */

import { announce, button, h, showProblem } from "../dom.js";
import { Form } from "../form.js";
import { Progress, draw, framed } from "../gallery.js";
import { opener } from "../opener.js";
import { Picture } from "../pictures.js";
import { Surface } from "../surface.js";
import { toolbar } from "../toolbar.js";

const ANEW = [44, 73, 200, 165]; // lapis: what is drawn anew
const PARTS = {
  "Right half": (x) => x >= 0.5,
  "Lower half": (x, y) => y >= 0.5,
  Middle: (x, y) => x >= 0.25 && x < 0.75 && y >= 0.25 && y < 0.75,
};

/** Make the tab. */
export function create(app) {
  return new Complete(app);
}

class Complete {
  constructor(app) {
    Object.assign(this, { app, picture: null, source: null, taken: [] });
    this.problem = h("div");
    this.progress = new Progress();
    this.surface = new Surface({
      rows: 8,
      columns: 8,
      colour: (value) => (value ? ANEW : [0, 0, 0, 0]),
      label: "What is drawn anew, by cells",
    });
    this.form = new Form(app, {
      can: "complete",
      submit: "Draw anew",
      without: ["size"],
      onsubmit: (request) => this.propose(request),
      onchange: (what) => what === "model" && this.refit(),
    });
    const { surface } = this;
    const parts = Object.entries(PARTS).map(([text, is]) =>
      button(text, () => this.mark(is), { class: "quiet" }),
    );
    const invert = button("Invert", () => surface.set(surface.values.map((value) => 255 - value)), {
      class: "quiet",
    });
    this.back = button("Back to the one before", () => this.step(), { class: "quiet", disabled: true });
    this.proposals = h("div", { class: "wall proposals" });
    const words = "Open a picture, or choose Complete below one that was drawn.";
    this.empty = h("p", { class: "hint" }, words);
    this.easel = h(
      "div",
      { class: "easel" },
      h("div", { class: "stage" }, surface.element, surface.hint),
      h(
        "div",
        { class: "tools" },
        toolbar(surface, { sizes: [0.5, 4, 1], clear: "Keep all" }),
        h("div", { class: "buttons" }, ...parts, invert),
        h("div", { class: "buttons" }, this.back),
      ),
    );
    this.element = h(
      "div",
      { class: "bench" },
      this.form.element,
      h("div", {}, this.progress.element, this.problem, this.empty, this.easel, this.proposals),
    );
    const open = opener("Open a picture …", async (url) => this.open(await Picture.read(url)), {
      place: this.element,
      bytes: app.limits.upload_bytes,
      bad: (error) => showProblem(this.problem, error),
    });
    this.form.element.prepend(
      h("div", { class: "field" }, open, h("small", {}, "or drop one here, or paste it")),
    );
    this.easel.hidden = true;
  }

  /** Begin with the newest picture of the wall, if there is none yet. */
  show() {
    if (!this.picture && this.app.latest) this.receive(this.app.latest.payload);
  }

  receive({ picture, request }) {
    this.form.fill({ ...request, num: 4 });
    return this.open(picture);
  }

  /** Work on a picture, fitted to what the model takes. */
  async open(picture) {
    showProblem(this.problem, null);
    this.source = picture;
    this.taken = [];
    this.proposals.replaceChildren();
    await this.refit();
  }

  async refit() {
    if (this.source && this.form.model)
      this.lay(await this.source.forModel(this.form.model, this.app.limits.pixels));
  }

  lay(picture) {
    const { factor } = this.form.model;
    this.picture = picture;
    this.surface.resize(picture.size[0] / factor, picture.size[1] / factor);
    this.surface.over(picture.data);
    this.surface.under.alt = "The picture that is worked on";
    this.form.fit(picture.size);
    this.easel.hidden = false;
    this.empty.hidden = true;
    this.back.disabled = !this.taken.length;
  }

  mark(is) {
    const { rows, columns } = this.surface;
    this.surface.set(
      this.surface.values.map((_, index) =>
        is((index % columns) / columns, Math.floor(index / columns) / rows) ? 255 : 0,
      ),
    );
  }

  propose(request) {
    if (!this.picture || !this.surface.painted) {
      showProblem(
        this.problem,
        this.picture
          ? "Paint what is to be drawn anew first: over the picture, or by one of the buttons beside it."
          : "Open a picture first.",
      );
      return null;
    }
    showProblem(this.problem, null);
    const { size, given } = this.picture;
    const asked = { ...request, size, image: given, mask: this.surface.toUrl(this.form.model.factor) };
    const tiles = framed(this.app, asked, size, { Take: (tile) => this.take(tile) });
    const hung = h(
      "section",
      { class: "hung", "data-num": 3 },
      h("h2", {}, "Proposals"),
      h("div", { class: "row" }, ...tiles.map(({ element }) => element)),
    );
    this.proposals.replaceChildren(hung);
    return draw(this.app, "complete", asked, {
      tiles,
      progress: this.progress,
      onended: () => !tiles.some(({ url }) => url) && hung.remove(),
    });
  }

  /** Go on with a proposal. */
  take(tile) {
    this.taken.push(this.picture);
    this.lay(tile.picture);
    this.proposals.replaceChildren();
    this.form.seed.value = Number(this.form.seed.value) + Number(this.form.num.value);
    this.surface.layer.focus();
    announce("taken; paint the next part");
  }

  step() {
    const before = this.taken.pop();
    if (before) this.lay(before);
  }
}
