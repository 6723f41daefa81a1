/** A pose: joints that are dragged, limbs between them. */

import { button, choice, h, svg } from "../dom.js";
import { hue } from "./map.js";
import { draggable, sheet, within } from "./marks.js";

const STANDING = {
  // a figure that stands, seen from the front: its own left is at our right
  nose: [0.5, 0.14],
  eye: [0.53, 0.12],
  ear: [0.56, 0.13],
  shoulder: [0.6, 0.26],
  elbow: [0.66, 0.4],
  wrist: [0.68, 0.53],
  hand: [0.69, 0.57],
  hip: [0.56, 0.53],
  knee: [0.57, 0.73],
  ankle: [0.57, 0.92],
  heel: [0.57, 0.94],
  big_toe: [0.6, 0.96],
  small_toe: [0.62, 0.95],
  head_top: [0.5, 0.05],
  neck: [0.5, 0.23],
  pelvis: [0.5, 0.53],
};
const STATES = { 2: "Seen", 1: "Hidden", 0: "Absent" };

/** Make the painter of keypoints. */
export function pose(condition, how) {
  return new Pose(condition, how);
}

class Pose {
  constructor(condition, how) {
    this.limbs = condition.limbs || [];
    this.onstroke = how.onstroke;
    this.joints = condition.joints.map((name, number) => ({
      name,
      number,
      at: standing(name, number),
      visibility: 2,
    }));
    this.sheet = sheet("Joints of the figure", how.size);
    this.lines = svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" });
    this.sheet.append(this.lines);
    this.chosen = this.joints[0];
    this.state = choice("Is this joint seen", STATES, "2", (value) => {
      this.chosen.visibility = Number(value);
      this.show();
      this.onstroke();
    });
    this.told = h("span", { class: "told" });
    for (const joint of this.joints) this.lay(joint);
    const stand = button("Stand", () => this.stand(), { class: "quiet" });
    const mirror = button("Mirror", () => this.mirror(), { class: "quiet" });
    this.element = h(
      "div",
      { class: "painter" },
      this.sheet,
      h("small", {}, "Drag joints, or choose one by Tab and move it by arrows."),
      h("div", { class: "beside" }, this.told, this.state),
      h("div", { class: "row" }, stand, mirror),
    );
    this.show();
  }

  lay(joint) {
    joint.mark = button("", () => {}, {
      class: "joint",
      onfocus: () => this.choose(joint),
      onpointerdown: () => this.choose(joint),
    });
    joint.mark.style.setProperty("--colour", colour(joint));
    this.sheet.append(joint.mark);
    const move = (dx, dy) => {
      joint.at = [within(joint.at[0] + dx), within(joint.at[1] + dy)];
      if (!joint.visibility) joint.visibility = 2;
      this.show();
    };
    draggable(joint.mark, this.sheet, move, () => this.onstroke());
  }

  choose(joint) {
    this.chosen = joint;
    this.state.querySelector(`input[value="${joint.visibility}"]`).checked = true;
    this.told.textContent = joint.name.replaceAll("_", " ");
  }

  show() {
    for (const joint of this.joints) {
      joint.mark.style.setProperty("left", `${100 * joint.at[0]}%`);
      joint.mark.style.setProperty("top", `${100 * joint.at[1]}%`);
      joint.mark.dataset.state = joint.visibility;
      joint.mark.setAttribute(
        "aria-label",
        `${joint.name.replaceAll("_", " ")}, ${STATES[joint.visibility].toLowerCase()}`,
      );
    }
    const there = this.limbs
      .map((pair) => pair.map((number) => this.joints[number]))
      .filter((pair) => pair.every(({ visibility }) => visibility));
    this.lines.replaceChildren(
      ...there.map(([one, other]) =>
        svg("line", {
          x1: 100 * one.at[0],
          y1: 100 * one.at[1],
          x2: 100 * other.at[0],
          y2: 100 * other.at[1],
          stroke: colour(other),
          "vector-effect": "non-scaling-stroke",
        }),
      ),
    );
    this.choose(this.chosen);
  }

  stand() {
    for (const joint of this.joints)
      Object.assign(joint, { at: standing(joint.name, joint.number), visibility: 2 });
    this.show();
    this.onstroke();
  }

  mirror() {
    const before = new Map(this.joints.map(({ name, at, visibility }) => [name, { at, visibility }]));
    for (const joint of this.joints) {
      const swapped = joint.name.replace(/^(left|right)_/, (side) => (side === "left_" ? "right_" : "left_"));
      const { at, visibility } = before.get(swapped) || before.get(joint.name);
      Object.assign(joint, { at: [1 - at[0], at[1]], visibility });
    }
    this.show();
    this.onstroke();
  }

  value() {
    const told = ({ at, visibility }) =>
      visibility ? [...at.map((one) => Math.round(1000 * one) / 1000), visibility] : null;
    return Object.fromEntries(this.joints.map((joint) => [joint.name, told(joint)]));
  }

  fill(figure) {
    for (const joint of this.joints) {
      const given = figure?.[joint.name];
      joint.visibility = given ? (given[2] ?? 2) : 0;
      if (given) joint.at = given.slice(0, 2);
    }
    this.show();
  }

  resize([height, width]) {
    this.sheet.style.setProperty("aspect-ratio", `${width} / ${height}`);
  }
}

const colour = (joint) => `rgb(${hue(joint.number + 1).slice(0, 3)})`;

function standing(name, number) {
  const [x, y] = STANDING[name.replace(/^(left|right)_/, "")] || [
    0.15 + 0.7 * ((number * 0.382) % 1),
    0.15 + 0.7 * ((number * 0.618) % 1),
  ];
  return [name.startsWith("right_") ? 1 - x : x, y];
}
