/** Tools of a surface: brush, eraser, rectangle, size, undo. */

import { button, choice, field, h } from "./dom.js";

/**
 * Make the tools of a surface.
 * @param {import("./surface.js").Surface} surface
 * @param {object} how
 * @param {number[]} how.sizes radii of the brush: least, most, at first
 * @param {string[]} [how.tools] of brush, erase, rectangle
 * @param {string} [how.clear] words on the button that empties the surface
 */
export function toolbar(surface, { sizes, tools = ["brush", "erase", "rectangle"], clear = "Clear" }) {
  const names = { brush: "Brush", erase: "Eraser", rectangle: "Rectangle" };
  const choices = Object.fromEntries(tools.map((name) => [name, names[name]]));
  const [least, most, first] = sizes;
  const size = h("input", {
    type: "range",
    min: least,
    max: most,
    step: 0.5,
    value: first,
    oninput: () => (surface.radius = Number(size.value)),
  });
  surface.radius = first;
  const choose = (tool) => {
    surface.isErasing = tool === "erase";
    surface.tool = tool === "rectangle" ? "rectangle" : "brush";
  };
  return h(
    "div",
    { class: "toolbar" },
    choice("Tool", choices, "brush", choose),
    h(
      "div",
      { class: "row" },
      field("Brush size", size),
      h(
        "div",
        { class: "buttons" },
        button("Undo", () => surface.undo()),
        button(clear, () => surface.set(surface.values.slice().fill(surface.empty))),
      ),
    ),
  );
}
