/** What a model is told: a control for each of its conditions. */

import { button, choice, field, h } from "./dom.js";
import { boxes } from "./painters/boxes.js";
import { map } from "./painters/map.js";
import { pose } from "./painters/pose.js";
import { THINGS } from "./words.js";

const PAINTED = { map, boxes, points: boxes, keypoints: pose };

/** Return whether a condition is told by painting. */
export const isPainted = (condition) => condition.kind in PAINTED;

/**
 * Make the control of a condition.
 * @param {object} condition as /api/models tells it
 * @param {{size: number[], onstroke: () => void}} how size: height and width that are drawn
 * @returns {{element: Element, value: () => any, fill: (value: any) => void, resize?: (size: number[]) => void}}
 */
export function control(condition, how) {
  const make = PAINTED[condition.kind] || { text, label }[condition.kind] || text;
  return make(condition, how);
}

function text(condition) {
  const input = h("input", {
    type: "text",
    value: THINGS[0],
    maxlength: 500,
    autocomplete: "off",
    spellcheck: "false",
  });
  const other = () => {
    const rest = THINGS.filter((thing) => thing !== input.value);
    input.value = rest[Math.floor(Math.random() * rest.length)];
    input.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const dice = button("⚄", other, { class: "quiet dice", "aria-label": "Other words", title: "Other words" });
  const label = condition.keyword === "text" ? "In words" : condition.keyword;
  const element = h("div", { class: "beside" }, field(label, input), dice);
  return { element, value: () => input.value.trim(), fill: (value) => (input.value = value ?? "") };
}

function label(condition) {
  const names = condition.classes;
  const input = names
    ? h("select", {}, ...names.map((name) => h("option", { value: name }, name)))
    : h("input", { type: "number", min: 0, value: 0 });
  const value = () => (names ? input.value : Number(input.value));
  return { element: field("Class", input), value, fill: (given) => (input.value = given) };
}

/**
 * Make the control of a second value, into which the first one changes across the picture.
 * @returns {{element: Element, value: () => string|null, other: () => any}} value: the way it changes, null for not at all
 */
export function mixture(condition, how) {
  const second = control(condition, how);
  second.element.querySelector("label").textContent = "At the other end";
  if (condition.kind === "text") second.fill(THINGS[1]);
  const box = h("div", { hidden: true }, second.element);
  const ways = { "": "One", "left-right": "Left → right", "top-bottom": "Top ↓ bottom" };
  let way = "";
  const turn = (chosen) => {
    way = chosen;
    box.hidden = !chosen;
  };
  const element = h(
    "div",
    { class: "asked" },
    choice("Mix two conditions across the picture", ways, "", turn),
    box,
  );
  return { element, value: () => way || null, other: second.value };
}
