/** The form that asks for pictures, built from what a model says of itself. */

import { control, isPainted, mixture } from "./conditions.js";
import { announce, button, field, h } from "./dom.js";
import { options } from "./options.js";
import { shape } from "./words.js";

const OTHER = "other";

/** A form of one model: its condition, how many, from which seed, how large, and how boldly. */
export class Form {
  /**
   * @param {object} app
   * @param {object} how
   * @param {string} how.can what the models must be able to do
   * @param {string} how.submit words on the button
   * @param {(request: object) => void} how.onsubmit
   * @param {() => void} [how.onchange] told when another model or size is chosen, or something was painted
   * @param {string[]} [how.without] of "num", "seed", "size": fields that this place has no use for
   * @param {(model: object) => boolean} [how.only] which of these models
   * @param {boolean} [how.tells] whether it says what the model is
   * @param {boolean} [how.mixes] whether two values of a condition may be mixed across the picture
   */
  constructor(app, how) {
    this.app = app;
    this.how = how;
    this.models = app.able(how.can).filter(how.only || (() => true));
    this.conditions = new Map();
    const numbers = [...this.layPlace(), ...this.layNumbers()];
    const fields = [
      this.layModel(),
      numbers.length ? h("div", { class: "numbers-row" }, ...numbers) : null,
      this.free,
      this.layMore(),
      how.tells ? this.layAbout() : null,
    ];
    this.go = h("button", { type: "submit", class: "go" }, how.submit);
    this.asked = h("div", { class: "asked" });
    const rest = fields.filter(Boolean);
    this.element = h(
      "form",
      { class: "controls", onsubmit: (event) => this.submit(event) },
      rest.shift(),
      this.asked,
      this.go,
      ...rest,
    );
    this.choose();
  }

  layModel() {
    this.select = h(
      "select",
      { onchange: () => this.choose() },
      ...this.models.map(({ name }) => h("option", { value: name }, name)),
    );
    const element = field("Model", this.select);
    element.hidden = this.models.length < 2;
    return element;
  }

  layPlace() {
    if (this.has("size") === false) return [];
    this.sizes = h("select", { onchange: () => this.resized() });
    this.width = h("input", { type: "number", onchange: () => this.resized() });
    this.height = h("input", { type: "number", onchange: () => this.resized() });
    this.free = h(
      "div",
      { class: "row", hidden: true },
      field("Width", this.width),
      field("Height", this.height),
    );
    return [field("Size", this.sizes)];
  }

  layNumbers() {
    this.num = h("input", {
      type: "number",
      min: 1,
      max: this.app.limits.num,
      value: Math.min(4, this.app.limits.num),
      required: true,
    });
    this.seed = h("input", { type: "number", min: 0, max: 2 ** 31, value: 0, required: true });
    const other = () => {
      this.seed.value = Math.floor(Math.random() * 100000);
      announce(`seed ${this.seed.value}`);
    };
    const dice = button("⚄", other, {
      class: "quiet dice",
      "aria-label": "Another seed",
      title: "Another seed",
    });
    const seed = this.has("seed") ? h("div", { class: "beside" }, field("Seed", this.seed), dice) : null;
    const num = this.has("num") ? field("Pictures", this.num) : null;
    return [num, seed].filter(Boolean);
  }

  layMore() {
    this.guidance = slider(1, 8, 0.1, 1);
    this.temperature = slider(0.1, 2, 0.05, 1);
    this.topK = h("input", { type: "number", min: 1, placeholder: "all" });
    this.topP = h("input", { type: "number", min: 0.01, max: 1, step: 0.01, placeholder: "all" });
    this.guided = field("Guidance", this.guidance, "Higher: closer to what was asked, less varied");
    this.stride = slider(1, 2, 1, 1);
    this.strided = field(
      "Stride",
      this.stride,
      "Of large canvases: more is faster, and sees less to the right",
    );
    this.own = h("div", { class: "asked" });
    return h(
      "details",
      { class: "more" },
      h("summary", {}, "More"),
      this.guided,
      field("Temperature", this.temperature, "Lower: safer pieces"),
      h("div", { class: "row" }, field("Top k", this.topK), field("Top p", this.topP)),
      this.strided,
      this.own,
    );
  }

  layAbout() {
    this.about = h("pre");
    return h("details", { class: "more" }, h("summary", {}, "About the model"), this.about);
  }

  has(name) {
    return !(this.how.without || []).includes(name);
  }

  get model() {
    return this.models.find(({ name }) => name === this.select.value);
  }

  /** Return the size that is asked for, [height, width]. */
  get size() {
    if (!this.sizes) return this.given || this.model.sizes[0];
    if (this.sizes.value !== OTHER) return JSON.parse(this.sizes.value);
    return [Number(this.height.value), Number(this.width.value)];
  }

  /** Lay the form anew for the chosen model; what both models are told stays. */
  choose() {
    const { model } = this;
    if (model && model === this.chosen) return;
    this.chosen = model;
    if (!model) {
      this.asked.replaceChildren(h("p", { class: "hint" }, "None of the open models can do this."));
      this.go.disabled = true;
      return;
    }
    if (this.sizes) this.laySizes(model);
    const [before, known] = [this.told(), this.known || []];
    const told = (this.known = model.conditions);
    for (const [keyword, value] of Object.entries(model.example || {})) before[keyword] ??= value;
    this.conditions = new Map(
      told.map((one) => [
        one.keyword,
        control(one, { size: this.size, onstroke: () => this.how.onchange?.("stroke") }),
      ]),
    );
    for (const [keyword, value] of Object.entries(before)) {
      const [one, same] = [known, told].map((all) => all.find((other) => other.keyword === keyword));
      const isSame =
        same &&
        (!one ||
          (one.kind === same.kind && one.content === same.content && `${one.classes}` === `${same.classes}`));
      if (isSame) this.conditions.get(keyword).fill(value);
    }
    const isMixed = this.how.mixes && model.can.includes("mix") && told.length === 1 && !isPainted(told[0]);
    this.mixed = isMixed ? mixture(told[0], { size: this.size }) : null;
    const controls = [...this.conditions.values(), this.mixed].filter(Boolean);
    this.asked.replaceChildren(...controls.map(({ element }) => element));
    const canGuide = told.length > 0 && model.can_be_guided !== false;
    this.guided.hidden = !canGuide;
    this.guidance.fill(canGuide ? (told.some(({ kind }) => kind === "text") ? 3 : 1.5) : 1);
    if (this.about) this.about.textContent = model.about;
    this.strided.hidden = !(model.longest_stride > 1);
    this.stride.max = model.longest_stride || 1;
    this.stride.fill(1);
    this.options = options(model.options || {});
    this.own.replaceChildren(...this.options.elements);
    this.how.onchange?.("model");
  }

  laySizes(model) {
    const [[height, width]] = model.sizes;
    const wider = [
      [height, 2 * width],
      [2 * height, width],
      [height, 4 * width],
    ];
    const fits = ([h1, w1]) => h1 * w1 <= this.app.limits.pixels;
    const options = [...model.sizes, ...wider]
      .filter(fits)
      .map((size) => h("option", { value: JSON.stringify(size) }, shape(size)));
    this.sizes.replaceChildren(...options, h("option", { value: OTHER }, "other …"));
    this.free.hidden = true;
    for (const [input, side] of [
      [this.width, width],
      [this.height, height],
    ]) {
      Object.assign(input, { min: model.any_size ? model.factor : side, step: model.factor, value: side });
    }
  }

  resized() {
    this.free.hidden = this.sizes.value !== OTHER;
    for (const one of this.conditions.values()) one.resize?.(this.size);
    this.how.onchange?.("size");
  }

  /** Tell painters of the size of the picture that is worked on. */
  fit(size) {
    this.given = size;
    for (const one of this.conditions.values()) one.resize?.(size);
  }

  told() {
    const found = [...this.conditions].map(([keyword, one]) => [one.keyword || keyword, one.value()]);
    return Object.fromEntries(found.filter(([, value]) => value !== null));
  }

  /** Return what the API is asked. */
  request() {
    const size = this.size;
    const isFirst = JSON.stringify(size) === JSON.stringify(this.model.sizes[0]);
    const number = (input) => (input.value === "" ? null : Number(input.value));
    const [condition, mix] = [this.told(), this.mixed?.value() ?? null];
    if (mix)
      for (const keyword of Object.keys(condition))
        condition[keyword] = [condition[keyword], this.mixed.other()];
    return {
      model: this.model.name,
      num: number(this.num) || 1,
      seed: number(this.seed) || 0,
      size: isFirst ? null : size,
      guidance_scale: this.guided.hidden ? 1 : this.guidance.number(),
      temperature: this.temperature.number(),
      top_k: number(this.topK),
      top_p: number(this.topP),
      stride: this.stride.number(),
      options: this.options.value(),
      condition,
      ...(mix ? { mix } : {}),
    };
  }

  /** Fill the form with an earlier request. */
  fill(request) {
    if (this.model.name !== request.model && this.models.some(({ name }) => name === request.model)) {
      this.select.value = request.model;
      this.choose();
    }
    this.num.value = request.num;
    this.seed.value = request.seed;
    this.guidance.fill(request.guidance_scale);
    this.temperature.fill(request.temperature);
    this.topK.value = request.top_k ?? "";
    this.topP.value = request.top_p ?? "";
    this.stride.fill(request.stride);
    this.options.fill(request.options);
    if (this.sizes) this.fillSize(request.size || this.model.sizes[0]);
    for (const [keyword, value] of Object.entries(request.condition))
      this.conditions.get(keyword)?.fill(value);
  }

  fillSize(size) {
    const known = [...this.sizes.options].some(({ value }) => value === JSON.stringify(size));
    this.sizes.value = known ? JSON.stringify(size) : OTHER;
    if (!known) [this.height.value, this.width.value] = size;
    this.resized();
  }

  submit(event) {
    event.preventDefault();
    if (this.model) this.how.onsubmit(this.request());
  }
}

/** Make a slider that says its number; `number()` reads it, `fill()` sets it. */
function slider(min, max, step, value) {
  const input = h("input", { type: "range", min, max, step, value, oninput: () => tell() });
  const tell = () => {
    input.title = input.value;
    input.closest(".field")?.querySelector("label")?.setAttribute("data-value", Number(input.value));
  };
  input.number = () => Number(input.value);
  input.fill = (number) => {
    input.value = number;
    tell();
  };
  return input;
}
