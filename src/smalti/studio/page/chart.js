/** Curves of numbers over steps, as SVG. */

import { h, svg } from "./dom.js";

const [WIDTH, HEIGHT] = [520, 190];
const PAD = { left: 52, right: 12, top: 10, bottom: 24 };

/**
 * Draw curves that share their axes.
 * @param {string} title
 * @param {Object<string, number[][]>} curves name -> [step, value] pairs, steps rising
 * @param {(number) => string} colour of curve number i
 */
export function chart(title, curves, colour) {
  const points = Object.values(curves).flat();
  const [x0, x1] = range(points.map(([step]) => step));
  const values = points.map(([, value]) => value);
  const isWide = Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) > 50; // a logarithm shows more then
  const scaled = isWide ? Math.log10 : (value) => value;
  const [y0, y1] = range(values.map(scaled));
  const x = (step) => PAD.left + ((step - x0) / (x1 - x0)) * (WIDTH - PAD.left - PAD.right);
  const y = (value) =>
    HEIGHT - PAD.bottom - ((scaled(value) - y0) / (y1 - y0)) * (HEIGHT - PAD.top - PAD.bottom);
  const told = Object.entries(curves).map(([name, pairs]) => `${name} ${number(pairs.at(-1)[1])}`);
  const picture = svg("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    role: "img",
    "aria-label": `${title}: at step ${points.at(-1)[0]} ${told.join(", ")}`,
  });
  for (const share of [0, 0.5, 1]) {
    const value = y0 + share * (y1 - y0);
    const line = HEIGHT - PAD.bottom - share * (HEIGHT - PAD.top - PAD.bottom);
    picture.append(
      svg("line", { x1: PAD.left, x2: WIDTH - PAD.right, y1: line, y2: line, class: "rule" }),
      words(number(isWide ? 10 ** value : value), PAD.left - 6, line + 4, "end"),
    );
  }
  picture.append(
    words(String(x0), PAD.left, HEIGHT - 6, "start"),
    words(`step ${x1}`, WIDTH - PAD.right, HEIGHT - 6, "end"),
  );
  Object.values(curves).forEach((pairs, index) => {
    const path = pairs
      .map(([step, value], at) => `${at ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`)
      .join("");
    picture.append(
      svg("path", {
        d: path,
        fill: "none",
        stroke: colour(index),
        "stroke-width": 1.8,
        "stroke-linejoin": "round",
      }),
    );
  });
  const legend = Object.keys(curves).map((name, index) =>
    h(
      "span",
      {},
      h("i", { css: { "background-color": colour(index) } }),
      name,
      h("b", {}, number(curves[name].at(-1)[1])),
    ),
  );
  return h(
    "figure",
    { class: "chart" },
    h("h3", {}, title),
    picture,
    h("figcaption", { class: "legend" }, ...legend),
  );
}

function range(values) {
  const [low, high] = values.reduce(
    ([a, b], value) => [Math.min(a, value), Math.max(b, value)],
    [Infinity, -Infinity],
  );
  const room = Math.abs(low) / 10 || 1; // for what stays as it is
  return low === high ? [low - room, high + room] : [low, high];
}

function words(text, x, y, anchor) {
  return svg("text", { x, y, "text-anchor": anchor }, text);
}

/** Return a number in few digits. */
export function number(value) {
  const size = Math.abs(value);
  if (size && (size < 0.001 || size >= 1e6)) return value.toExponential(1);
  return String(Number(value.toPrecision(size >= 100 ? 4 : 3)));
}
