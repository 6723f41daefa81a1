/** Maps: classes by a palette, edges by a pen, depths by a soft brush, or a picture from which the map is made. */

import { button, choice, chooser, field, h, loadImage, readFile, showProblem, unique } from "../dom.js";
import { Picture } from "../pictures.js";
import { Surface } from "../surface.js";
import { toolbar } from "../toolbar.js";

/** Make the painter of a map condition. */
export function map(condition, how) {
  const kinds = { segmentation: classes, edges: lines, silhouette: lines, depth: depths };
  return (kinds[condition.content] || picture)(condition, how);
}

/** Return a colour of a class: hues that lie far apart, in two lightnesses. */
export function hue(number) {
  const angle = (number * 137.508 + 205) % 360;
  return rgb(angle, number % 2 ? 0.42 : 0.55, number % 3 === 2 ? 0.4 : 0.58);
}

function rgb(angle, saturation, lightness) {
  const part = (n) => {
    const k = (n + angle / 30) % 12;
    return Math.round(
      255 *
        (lightness -
          saturation * Math.min(lightness, 1 - lightness) * Math.max(-1, Math.min(k - 3, 9 - k, 1))),
    );
  };
  return [part(0), part(8), part(4), 255];
}

/** parts: tools below the surface; more: buttons beside "Open a map"; codes: what stands in files for each value. */
function painted(how, surface, parts, more = [], codes = null) {
  const meant = codes && new Map(codes.map((code, value) => [code, value]));
  const read = async (url) =>
    surface.read(await loadImage(url), meant ? (code) => meant.get(code) ?? surface.empty : (value) => value);
  const take = async (file) => {
    await read(await readFile(file));
    how.onstroke();
  };
  const problem = h("div");
  const input = chooser((file) => {
    showProblem(problem, null);
    take(file).catch((error) => showProblem(problem, error));
  });
  const element = h(
    "div",
    { class: "painter" },
    surface.element,
    surface.hint,
    ...parts,
    h(
      "div",
      { class: "buttons" },
      ...more,
      button("Open a map …", () => input.click(), { class: "quiet" }),
    ),
    problem,
    input,
  );
  const resize = ([height, width]) =>
    (surface.rows !== height || surface.columns !== width) && surface.resize(height, width);
  const fill = async (url) => typeof url === "string" && read(url);
  return { element, surface, resize, fill, value: () => surface.toUrl(1, codes) };
}

function coloured(given, number) {
  return given ? [1, 3, 5].map((at) => parseInt(given.slice(at, at + 2), 16)).concat(255) : hue(number);
}

function surfaceOf(how, more) {
  const [rows, columns] = how.size;
  return new Surface({
    rows,
    columns,
    step: Math.max(1, Math.round(Math.min(rows, columns) / 16)),
    onstroke: how.onstroke,
    ...more,
  });
}

function classes(condition, how) {
  const names =
    condition.classes || Array.from({ length: condition.channels || 2 }, (_, number) => String(number));
  const colours = names.map((_, number) => coloured(condition.colours?.[number], number));
  const surface = surfaceOf(how, {
    colour: (value) => colours[value] || [0, 0, 0, 255],
    label: "Map of classes",
  });
  surface.value = Math.min(1, names.length - 1);
  const group = unique("class");
  const swatches = names.map((name, number) => {
    const swatch = h("i", { css: { "background-color": `rgb(${colours[number].slice(0, 3)})` } });
    const input = h("input", {
      type: "radio",
      name: group,
      checked: number === surface.value,
      onchange: () => (surface.value = number),
    });
    return h("label", {}, input, swatch, h("span", {}, name));
  });
  const palette = h(
    "fieldset",
    { class: "palette" },
    h("legend", { class: "unseen" }, "Class to paint"),
    ...swatches,
  );
  const most = Math.max(3, Math.min(...how.size) / 4);
  const fill = button("Fill all", () => surface.set(surface.values.slice().fill(surface.value)), {
    class: "quiet",
  });
  return painted(
    how,
    surface,
    [toolbar(surface, { sizes: [0.5, most, most / 2], tools: ["brush", "rectangle"] }), palette],
    [fill],
    condition.values || names.map((_, number) => number),
  );
}

function lines(condition, how) {
  const label = condition.content === "edges" ? "Edges, drawn in white" : "Silhouette, filled in white";
  const surface = surfaceOf(how, { colour: (value) => [value, value, value, 255], label });
  const most = condition.content === "edges" ? 3 : Math.min(...how.size) / 4;
  const found = painted(how, surface, [
    toolbar(surface, { sizes: [0.5, most, condition.content === "edges" ? 0.5 : most / 2] }),
  ]);
  return condition.from_image ? orPicture(found, how) : found;
}

function depths(condition, how) {
  const surface = surfaceOf(how, {
    colour: (value) => [value, value, value, 255],
    label: "Depths: white is near",
    empty: 96,
  });
  Object.assign(surface, { softness: 0.6, value: 255 });
  const near = h("input", {
    type: "range",
    min: 0,
    max: 255,
    value: 255,
    oninput: () => (surface.value = Number(near.value)),
  });
  const most = Math.min(...how.size) / 2;
  const slope = button(
    "Ground and sky",
    () => {
      const { rows, columns } = surface;
      surface.set(
        surface.values.map((_, index) => Math.round(30 + (200 * Math.floor(index / columns)) / rows)),
      );
    },
    { class: "quiet" },
  );
  return painted(
    how,
    surface,
    [
      toolbar(surface, { sizes: [1, most, most / 3], tools: ["brush", "rectangle"] }),
      field("Far to near", near),
    ],
    [slope],
  );
}

/** A map that only a picture tells; models that compute it take the picture itself. */
function picture(condition, how) {
  let url = null;
  let { size } = how;
  const shown = h("img", { alt: "", class: "given" });
  shown.style.setProperty("aspect-ratio", `${size[1]} / ${size[0]}`);
  const take = async (given) => {
    url = (await (await Picture.read(given)).fitted(size)).data;
    shown.src = url;
    shown.alt = "The picture that is told";
    how.onstroke();
  };
  const problem = h("div");
  const read = async () => input.files[0] && take(await readFile(input.files[0]));
  const input = h("input", {
    type: "file",
    accept: "image/*",
    onchange: () => {
      showProblem(problem, null);
      read().catch((error) => showProblem(problem, error));
    },
  });
  const element = h(
    "div",
    { class: "painter" },
    shown,
    field(condition.from_image ? "Like this picture" : "Map", input),
    problem,
  );
  return {
    element,
    keyword: condition.from_image ? "from_image" : condition.keyword,
    value: () => url,
    fill: (given) => given && take(given),
    resize: (given) => {
      size = given;
      if (url) take(url);
    },
  };
}

/** Drawn by hand, or computed of a picture. */
function orPicture(drawn, how) {
  const other = picture({ from_image: true }, how);
  other.element.hidden = true;
  let chosen = drawn;
  const turn = (name) => {
    chosen = name === "pen" ? drawn : other;
    drawn.element.hidden = chosen !== drawn;
    other.element.hidden = chosen === drawn;
  };
  const element = h(
    "div",
    { class: "painter" },
    choice("Told by", { pen: "Pen", picture: "A picture" }, "pen", turn),
    drawn.element,
    other.element,
  );
  return {
    element,
    get surface() {
      return chosen === drawn ? drawn.surface : undefined;
    },
    get keyword() {
      return chosen.keyword;
    },
    value: () => chosen.value(),
    fill: (given) => drawn.fill(given),
    resize: (size) => [drawn, other].forEach((one) => one.resize(size)),
  };
}
