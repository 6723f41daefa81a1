/** Things by their boxes or points: drawn on a sheet, dragged, named. */

import { button, h } from "../dom.js";
import { hue } from "./map.js";
import { draggable, placed, sheet, within } from "./marks.js";

const LEAST = 0.04; // of a side: a box below that was a slip of the hand

/** Make the painter of boxes, or of points. */
export function boxes(condition, how) {
  return new Things(condition, how);
}

class Things {
  constructor(condition, how) {
    this.names = condition.classes || ["0"];
    this.isPoint = condition.kind === "points";
    this.most = condition.most || 100;
    this.onstroke = how.onstroke;
    this.things = [];
    this.sheet = sheet(this.isPoint ? "Points on the picture" : "Boxes on the picture", how.size);
    this.list = h("ul", { class: "things" });
    this.more = button(this.isPoint ? "Add a point" : "Add a box", () => this.add([0.3, 0.3, 0.7, 0.7]), {
      class: "quiet",
    });
    const hint = this.isPoint
      ? "Click to add a point; arrows move it, Delete removes it."
      : "Drag to add a box; arrows move it, shift and arrows change its size, Delete removes it.";
    this.element = h("div", { class: "painter" }, this.sheet, h("small", {}, hint), this.list, this.more);
    this.listen();
    this.add(this.isPoint ? [0.5, 0.5, 0.5, 0.5] : [0.25, 0.2, 0.75, 0.85], true);
  }

  listen() {
    let begun = null;
    this.sheet.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.target !== this.sheet) return;
      this.sheet.setPointerCapture(event.pointerId);
      begun = placed(this.sheet, event);
      this.ghost = h("div", { class: "ghost" });
      if (!this.isPoint) this.sheet.append(this.ghost);
    });
    this.sheet.addEventListener(
      "pointermove",
      (event) => begun && lay(this.ghost, ordered(begun, placed(this.sheet, event))),
    );
    this.sheet.addEventListener("pointerup", (event) => {
      if (!begun) return;
      const box = this.isPoint ? [...begun, ...begun] : ordered(begun, placed(this.sheet, event));
      begun = null;
      this.ghost.remove();
      if (this.isPoint || (box[2] - box[0] > LEAST && box[3] - box[1] > LEAST)) this.add(box);
    });
  }

  /** Add a thing; isQuiet: nobody is told. */
  add(box, isQuiet = false, name = this.names[0]) {
    if (this.things.length >= this.most) return;
    const thing = { name, box: [...box] };
    thing.mark = button("", () => {}, { class: this.isPoint ? "point" : "box" });
    thing.text = h("span");
    thing.mark.append(thing.text);
    this.things.push(thing);
    this.sheet.append(thing.mark);
    draggable(
      thing.mark,
      this.sheet,
      (dx, dy, isSecond) => this.move(thing, dx, dy, isSecond),
      () => this.onstroke(),
    );
    thing.mark.addEventListener(
      "keydown",
      (event) => ["Delete", "Backspace"].includes(event.key) && this.remove(thing),
    );
    if (!this.isPoint) this.handle(thing);
    const options = this.names.map((one) => h("option", { value: one, selected: one === name }, one));
    const select = h(
      "select",
      {
        "aria-label": "What it is",
        onchange: () => {
          thing.name = select.value;
          this.show(thing);
          this.onstroke();
        },
      },
      ...options,
    );
    thing.row = h(
      "li",
      {},
      select,
      button("Remove", () => this.remove(thing), { class: "quiet" }),
    );
    this.list.append(thing.row);
    this.show(thing);
    if (!isQuiet) this.onstroke();
  }

  handle(thing) {
    const corner = h("span", { class: "corner" });
    thing.mark.append(corner);
    draggable(
      corner,
      this.sheet,
      (dx, dy) => this.move(thing, dx, dy, true),
      () => this.onstroke(),
    );
  }

  move(thing, dx, dy, isSecond) {
    const { box } = thing;
    const [x, y] =
      isSecond && !this.isPoint
        ? [Math.max(dx, box[0] + LEAST - box[2]), Math.max(dy, box[1] + LEAST - box[3])]
        : [Math.max(-box[0], Math.min(1 - box[2], dx)), Math.max(-box[1], Math.min(1 - box[3], dy))];
    const from = isSecond && !this.isPoint ? 2 : 0;
    for (let index = from; index < 4; index += 1) box[index] = within(box[index] + (index % 2 ? y : x));
    this.show(thing);
  }

  show(thing) {
    const colour = `rgb(${hue(this.names.indexOf(thing.name)).slice(0, 3)})`;
    thing.mark.style.setProperty("--colour", colour);
    thing.text.textContent = thing.name;
    const where = thing.box.slice(0, 2).map((one) => Math.round(100 * one));
    thing.mark.setAttribute(
      "aria-label",
      `${thing.name} at ${where[0]} % from the left, ${where[1]} % from the top`,
    );
    lay(thing.mark, thing.box);
  }

  remove(thing) {
    this.things = this.things.filter((one) => one !== thing);
    thing.mark.remove();
    thing.row.remove();
    this.more.focus();
    this.onstroke();
  }

  value() {
    const rounded = (box) => box.map((one) => Math.round(one * 1000) / 1000);
    return this.things.map(({ name, box }) => [name, ...rounded(this.isPoint ? box.slice(0, 2) : box)]);
  }

  fill(things) {
    for (const one of [...this.things]) [one.mark, one.row].forEach((part) => part.remove());
    this.things = [];
    for (const [name, ...box] of things || [])
      this.add(box.length === 4 ? box : [...box, ...box], true, name);
  }

  resize([height, width]) {
    this.sheet.style.setProperty("aspect-ratio", `${width} / ${height}`);
  }
}

const ordered = ([x0, y0], [x1, y1]) => [
  Math.min(x0, x1),
  Math.min(y0, y1),
  Math.max(x0, x1),
  Math.max(y0, y1),
];

function lay(element, [x0, y0, x1, y1]) {
  const sides = { left: x0, top: y0, width: x1 - x0, height: y1 - y0 };
  for (const [name, value] of Object.entries(sides)) element.style.setProperty(name, `${100 * value}%`);
}
