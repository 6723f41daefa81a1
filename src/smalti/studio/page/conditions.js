/** What a model is told: a control for each of its conditions. */

import { button, choice, field, h, loadImage } from "./dom.js";
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
  const input = h("input", { type: "text", value: THINGS[0], maxlength: 500, autocomplete: "off", spellcheck: "false" });
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
 * Make the control of two values that mix across the picture, where the model takes that.
 * @returns {{element: Element, value: () => string|null, other: () => any}}
 */
export function mixture(condition, how, act) {
  const second = control(condition, how);
  const box = h("div", { hidden: true }, second.element);
  let way = "";
  const ways = { "": "One", "left-right": "Left to right", "top-bottom": "Top to bottom" };
  const element = h("div", { class: "field" }, choice("Mix two conditions", ways, "", (chosen) => {
    way = chosen;
    box.hidden = !chosen;
    act();
  }), box);
  return { element, value: () => way || null, other: second.value };
}

/** Return the image of a file or of an address as a data URL, as a PNG of height x width pixels, cut to cover it. */
export async function fitted(url, [height, width]) {
  const image = await loadImage(url);
  if (image.naturalHeight === height && image.naturalWidth === width && url.startsWith("data:image/png")) return url;
  const canvas = h("canvas", { width, height });
  const scale = Math.max(height / image.naturalHeight, width / image.naturalWidth);
  const [w, t] = [image.naturalWidth * scale, image.naturalHeight * scale];
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(image, (width - w) / 2, (height - t) / 2, w, t);
  return canvas.toDataURL("image/png");
}
