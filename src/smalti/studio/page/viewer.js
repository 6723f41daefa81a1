/** A closer look at a picture: large, with how it was made and where it can go from here. */

import { button, h } from "./dom.js";
import { command, shape } from "./words.js";

const PLACES = { complete: "Complete or edit", canvas: "Grow", inside: "Look inside", compare: "Compare" };

/** Open a dialog that shows a tile's picture. */
export function view(tile) {
  const { app, request } = tile;
  const close = () => dialog.close();
  const go = (name) => () => {
    close();
    app.open(name, tile.payload);
  };
  const able = { complete: "complete", canvas: "grow", inside: "encode", compare: "sample" };
  const { can } = app.model(request.model);
  const places = Object.entries(PLACES).filter(([name]) => can.includes(able[name]));
  const again = [...tile.actions.children].map((one) =>
    button(one.textContent, () => {
      close();
      one.click();
    }),
  );
  const image = h("img", { src: tile.picture.data, alt: tile.image.alt, class: "large" });
  image.style.setProperty("aspect-ratio", `${tile.size[1]} / ${tile.size[0]}`);
  const dialog = h(
    "dialog",
    { class: "viewer", "aria-label": `${tile.title}, seed ${tile.seed}`, onclose: () => dialog.remove() },
    h("div", { class: "mat" }, image),
    h(
      "div",
      { class: "label" },
      h("h2", {}, tile.title),
      h("p", {}, `${request.model}, seed ${tile.seed}, ${shape(tile.size)} pixels`),
      h(
        "div",
        { class: "actions" },
        save(tile),
        ...again,
        ...places.map(([name, text]) => button(text, go(name))),
      ),
      howMade(tile),
      button("Close", close, { class: "close" }),
    ),
  );
  dialog.addEventListener("click", (event) => event.target === dialog && close());
  document.body.append(dialog);
  dialog.showModal();
}

/** Make the link that saves a picture with its metadata. */
export function save(tile) {
  const name = `${tile.title.replace(/[^\w]+/g, "-").replace(/^-|-$/g, "") || "picture"}-${tile.seed}.png`;
  return h("a", { class: "button", href: tile.picture.data, download: name }, "Save");
}

function howMade(tile) {
  const rows = Object.entries(tile.metadata || {})
    .filter(
      ([, value]) => value !== null && !(typeof value === "object" && JSON.stringify(value).length > 120),
    )
    .map(([name, value]) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, name),
        h("td", {}, typeof value === "object" ? JSON.stringify(value) : String(value)),
      ),
    );
  const line = command(tile.request, tile.seed);
  return h(
    "details",
    { class: "more" },
    h("summary", {}, "How it was made"),
    h("table", {}, h("tbody", {}, ...rows)),
    line ? h("p", { class: "hint" }, "The same by the command line:") : null,
    line ? h("pre", { tabindex: 0, "aria-label": "Command" }, line) : null,
  );
}
