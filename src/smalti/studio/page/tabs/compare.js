/** Compare: two models or two settings, drawn from the same seeds, side by side. */

import { post } from "../api.js";
import { number } from "../chart.js";
import { button, field, h } from "../dom.js";
import { Form } from "../form.js";
import { Progress, draw, framed } from "../gallery.js";
import { duration, titled } from "../words.js";

/** Make the tab. */
export function create(app) {
  return new Compare(app);
}

class Compare {
  constructor(app) {
    this.app = app;
    this.num = h("input", {
      type: "number",
      min: 1,
      max: app.limits.num,
      value: Math.min(4, app.limits.num),
      required: true,
    });
    this.seed = h("input", { type: "number", min: 0, value: 0, required: true });
    this.sides = ["A", "B"].map((name) => new Side(app, name, () => this.draw()));
    const [one, other] = this.sides;
    one.form.element.addEventListener(
      "input",
      (event) => one.form.asked.contains(event.target) && this.mirror(one, other),
    );
    if (one.form.model === other.form.model) other.form.guidance.fill(1); // something to compare from the first
    const go = button("Draw both", () => this.draw(), { class: "go" });
    const both = h(
      "div",
      { class: "both" },
      field("Pictures each", this.num),
      field("From seed", this.seed),
      go,
    );
    this.element = h(
      "div",
      {},
      both,
      h("div", { class: "sides" }, ...this.sides.map(({ element }) => element)),
    );
  }

  receive({ request }) {
    for (const { form } of this.sides) form.fill(request);
    this.seed.value = request.seed;
  }

  /** What one side is told the other one is told too, where it can be. */
  mirror(one, other) {
    for (const [keyword, value] of Object.entries(one.form.told()))
      other.form.conditions.get(keyword)?.fill(value);
  }

  draw() {
    for (const side of this.sides)
      side.draw({ num: Number(this.num.value) || 1, seed: Number(this.seed.value) || 0 });
  }
}

class Side {
  constructor(app, name, onsubmit) {
    Object.assign(this, { app, job: null });
    this.progress = new Progress();
    this.form = new Form(app, { can: "sample", submit: "Draw both", without: ["num", "seed"], onsubmit });
    this.form.go.hidden = true;
    this.form.element.querySelector(".more").open = true;
    this.wall = h("div", { class: "wall" });
    this.numbers = h("dl", { class: "numbers" });
    this.element = h(
      "section",
      { class: "side", "aria-label": `Side ${name}` },
      h("h2", {}, name),
      this.form.element,
      this.progress.element,
      this.wall,
      this.numbers,
    );
  }

  draw(shared) {
    const request = { ...this.form.request(), ...shared };
    const size = request.size || this.form.model.sizes[0];
    const tiles = framed(this.app, request, size);
    this.job?.cancel();
    this.numbers.replaceChildren();
    this.wall.replaceChildren(
      h(
        "div",
        { class: request.num > 4 ? "hung" : "hung few" },
        h("p", { class: "hint" }, titled(request.condition) || request.model),
        h("div", { class: "row" }, ...tiles.map(({ element }) => element)),
      ),
    );
    const job = draw(this.app, "sample", request, {
      tiles,
      progress: this.progress,
      onended: (how, seconds) =>
        how === "done" && this.job === job && this.measure(job, tiles, request, seconds),
    });
    this.job = job;
  }

  /** Say what is known of the pictures: time, and how likely the model finds them. */
  async measure(job, tiles, request, seconds) {
    const found = { "time a picture": duration(seconds / tiles.length), "different pieces": "–" };
    const model = this.app.model(request.model);
    if (model.can.includes("encode")) {
      const encoded = await Promise.all(
        tiles.map(({ picture }) =>
          post("/api/encode", {
            model: request.model,
            image: picture.given,
            condition: request.condition,
          }).catch(() => null),
        ),
      );
      const there = encoded.filter(Boolean);
      const codes = there.map((one) => one.codes).flat(3);
      const nats = there
        .map((one) => one.nats)
        .filter(Boolean)
        .flat(3);
      if (codes.length) found["different pieces"] = `${new Set(codes).size} in ${codes.length} cells`;
      if (nats.length) found["nats a cell"] = number(nats.reduce((sum, one) => sum + one, 0) / nats.length);
    }
    for (const [name, value] of Object.entries(model.metrics))
      if (name !== "step") found[`${name.replaceAll("_", " ")}, as it was trained`] = number(value);
    if (this.job === job)
      this.numbers.replaceChildren(
        ...Object.entries(found).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
      );
  }
}
