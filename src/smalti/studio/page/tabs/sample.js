/** Sample: new pictures of what is told, hung on a wall. */

import { h } from "../dom.js";
import { Form } from "../form.js";
import { Progress, draw, framed } from "../gallery.js";
import { titled } from "../words.js";

/** Make the tab; it draws a first picture by itself. */
export function create(app) {
  const wall = h("div", { class: "wall" });
  const form = new Form(app, {
    can: "sample",
    submit: "Draw",
    tells: true,
    onsubmit: (request) => hang(request),
  });
  const actions = {
    "Again with": (tile) => {
      form.fill({ ...tile.request, seed: tile.seed });
      form.asked.querySelector("input, select, button, [tabindex]")?.focus();
    },
    "More like this": (tile) => hang({ ...tile.request, seed: tile.request.seed + tile.request.num }),
  };

  function hang(request) {
    const progress = new Progress();
    const size = request.size || app.model(request.model).sizes[0];
    const tiles = framed(app, request, size, actions);
    const title = h("h2", {}, titled(request.condition) || request.model);
    const hung = h(
      "section",
      { class: "hung", "data-num": Math.min(request.num, 3) },
      h("header", {}, title, progress.element),
      h("div", { class: "row" }, ...tiles.map(({ element }) => element)),
    );
    wall.prepend(hung);
    return draw(app, "sample", request, { tiles, progress });
  }

  const receive = ({ request }) => form.fill(request);
  if (form.model?.conditions.every(({ kind }) => kind === "text" || kind === "label")) hang(form.request());
  return { element: h("div", { class: "bench" }, form.element, wall), receive };
}
