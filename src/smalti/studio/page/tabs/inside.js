/** Look inside: what the codes keep of a picture, which pieces they are, how likely each, in which order they came. */

import { post } from "../api.js";
import { button, choice, h, showProblem } from "../dom.js";
import { Form } from "../form.js";
import { Progress } from "../gallery.js";
import { showOccurrences, times } from "../occurrences.js";
import { opener } from "../opener.js";
import { Overlay, heat } from "../overlay.js";
import { hue } from "../painters/map.js";
import { Picture, pixelsOf } from "../pictures.js";
import { number } from "../chart.js";

const PIECES = 24; // codes that are shown one by one
const FRAME = 60; // milliseconds a frame of a replay,
const FRAMES = 120; // and how many it has at most
const LOUDER = 4; // times, that differences are shown enlarged

/** Make the tab. */
export function create(app) {
  return new Inside(app);
}

class Inside {
  constructor(app) {
    Object.assign(this, { app, source: null, order: null });
    this.problem = h("div");
    this.progress = new Progress();
    const without = ["num", "seed", "size"];
    this.form = new Form(app, {
      can: "encode",
      submit: "Look",
      without,
      onsubmit: () => this.look(),
      onchange: (what) => what === "model" && this.source && this.look(),
    });
    this.form.element.querySelector(".more").hidden = true;
    this.views = h(
      "div",
      { class: "views" },
      h("p", { class: "hint" }, "Open a picture, or choose Look inside below one that was drawn."),
    );
    this.element = h(
      "div",
      { class: "bench" },
      this.form.element,
      h("div", {}, this.progress.element, this.problem, this.views),
    );
    const bad = (error) => showProblem(this.problem, error);
    const open = opener(
      "Open a picture …",
      async (url) => this.receive({ picture: await Picture.read(url) }),
      { place: this.element, bytes: app.limits.upload_bytes, bad },
    );
    this.form.element.prepend(
      h("div", { class: "field" }, open, h("small", {}, "or drop one here, or paste it")),
    );
  }

  show() {
    if (!this.source && this.app.latest) this.receive(this.app.latest.payload);
  }

  receive({ picture, request, order = null }) {
    Object.assign(this, { source: picture, order });
    if (request && this.form.models.some(({ name }) => name === request.model)) this.form.fill(request);
    return this.look();
  }

  async look() {
    const { model } = this.form;
    const turn = (this.turn = Symbol("turn"));
    if (!this.source) {
      showProblem(this.problem, "Open a picture first.");
      return;
    }
    showProblem(this.problem, null);
    this.progress.tell(0, "Looking …");
    try {
      const picture = await this.source.forModel(model, this.app.limits.pixels);
      const asked = { model: model.name, image: picture.given, size: picture.size };
      const condition = model.can.includes("nats") ? this.form.request().condition : null;
      const [rebuilt, { codes, nats }] = await Promise.all([
        post("/api/reconstruct", asked),
        post("/api/encode", { ...asked, condition }),
      ]);
      if (turn !== this.turn) return;
      const views = [
        await difference(picture.data, rebuilt.image, picture.size),
        pieces(picture.data, codes, model),
      ];
      if (nats) views.push(surprise(picture.data, nats));
      if (this.order && picture === this.source) views.push(replay(picture.data, this.order));
      this.views.replaceChildren(...views);
      this.progress.rest(`${codes.length} × ${codes[0].length} codes out of ${model.codebook_size}`);
    } catch (error) {
      if (turn !== this.turn) return;
      this.progress.rest("");
      showProblem(this.problem, error);
    }
  }
}

function titled(title, hint, ...children) {
  return h("section", { class: "view" }, h("h2", {}, title), h("p", { class: "hint" }, hint), ...children);
}

/** The picture and what came out of its codes, one over the other, parted by a slider. */
async function difference(image, rebuilt, [height, width]) {
  const [one, other] = await Promise.all([pixelsOf(image), pixelsOf(rebuilt)]);
  const shown = h("canvas", { width, height, role: "img", "aria-label": "Differences" });
  const apart = new ImageData(width, height);
  let sum = 0;
  for (let index = 0; index < one.data.length; index += 1) {
    const away = index % 4 === 3 ? 0 : Math.abs(one.data[index] - other.data[index]);
    sum += away * away;
    apart.data[index] = index % 4 === 3 ? 255 : LOUDER * away;
  }
  shown.getContext("2d").putImageData(apart, 0, 0);
  const mean = sum / (0.75 * one.data.length);
  const before = h("img", { src: image, alt: "The picture" });
  const after = h("img", { src: rebuilt, alt: "What came out of its codes", class: "after" });
  const pair = h("div", { class: "pair" }, before, after);
  pair.style.setProperty("aspect-ratio", `${width} / ${height}`);
  const part = (share) => pair.style.setProperty("--share", `${share}%`);
  const slider = h("input", {
    type: "range",
    min: 0,
    max: 100,
    value: 50,
    "aria-label": "How much of the picture is shown, the rest is what came out of its codes",
    oninput: () => part(slider.value),
  });
  part(50);
  pair.addEventListener("pointermove", (event) => {
    const box = pair.getBoundingClientRect();
    slider.value = (100 * (event.clientX - box.left)) / box.width;
    part(slider.value);
  });
  shown.hidden = true;
  const turn = choice(
    "What is shown",
    { pair: "Picture | rebuilt", apart: `Difference × ${LOUDER}` },
    "pair",
    (name) => {
      shown.hidden = name === "pair";
      pair.hidden = slider.hidden = name !== "pair";
    },
  );
  const psnr = mean ? `PSNR ${(10 * Math.log10(255 ** 2 / mean)).toFixed(1)} dB` : "equal to the last bit";
  return titled("Rebuilt from its codes", psnr, pair, shown, slider, turn);
}

/** The codes as a mosaic: which pieces, how often, where. */
function pieces(image, codes, model) {
  const counts = new Map();
  for (const code of codes.flat()) counts.set(code, (counts.get(code) || 0) + 1);
  const most = [...counts].sort(([a, m], [b, n]) => n - m || a - b).slice(0, PIECES);
  const overlay = new Overlay(
    "Codes, a colour each",
    image,
    [codes.length, codes[0].length],
    (row, column) => `code ${codes[row][column]}, ${times(counts.get(codes[row][column]))}`,
  );
  const all = (row, column) => [...hue(codes[row][column]).slice(0, 3), 150];
  const only = (code) =>
    overlay.paint((row, column) => (codes[row][column] === code ? [0, 0, 0, 0] : [20, 20, 24, 205]));
  overlay.paint(all);
  const elsewhere = h("div");
  const sprite = `/api/codebook/${model.name}?codes=${most.map(([code]) => code).join(",")}`;
  const list = most.map(([code, count], index) => {
    const picture = h("i", {});
    picture.style.setProperty("background-image", `url("${sprite}")`);
    picture.style.setProperty("background-size", `${100 * most.length}% 100%`);
    picture.style.setProperty(
      "background-position",
      `${most.length > 1 ? (100 * index) / (most.length - 1) : 0}% 0`,
    );
    const act = () => only(code);
    const press = () => {
      act();
      if (model.can.includes("occurrences")) showOccurrences(elsewhere, model, code);
    };
    const one = button("", press, {
      class: "piece",
      "aria-label": `code ${code}, ${times(count)}: show where`,
      onpointerenter: act,
      onfocus: act,
      onpointerleave: () => overlay.paint(all),
      onblur: () => overlay.paint(all),
    });
    one.append(picture, h("small", {}, `× ${count}`));
    return one;
  });
  const some = counts.size > most.length ? `, the ${most.length} most frequent below` : "";
  const hint = `${counts.size} kinds in ${codes.flat().length} cells${some}; point at one to see where it lies`;
  return titled("Its pieces", hint, overlay.element, h("div", { class: "pieces" }, ...list), elsewhere);
}

/** How unlikely each cell's code is, given what came before it and what was told. */
function surprise(image, nats) {
  const all = nats.flat();
  const [least, most] = [Math.min(...all), Math.max(...all)];
  const mean = all.reduce((sum, one) => sum + one, 0) / all.length;
  const overlay = new Overlay(
    "Surprise of each cell",
    image,
    [nats.length, nats[0].length],
    (row, column) =>
      `${number(nats[row][column])} nats: one of ${number(Math.exp(nats[row][column]))} such cells`,
  );
  overlay.paint((row, column) => [...heat((nats[row][column] - least) / (most - least || 1)), 215]);
  const bar = h(
    "div",
    { class: "scale" },
    h("span", {}, `${number(least)} expected`),
    h("i", {}),
    h("span", {}, `${number(most)} surprising`),
  );
  return titled(
    "How likely each cell is",
    `mean ${number(mean)} nats a cell, as it is told in the form`,
    overlay.element,
    bar,
  );
}

/** The drawing once more, cell by cell; order: the pass in which each cell came, below 1 for what was kept. */
function replay(image, order) {
  const last = Math.max(...order.flat());
  const word = (pass) => (pass < 1 ? "kept from the picture before" : `laid in pass ${pass} of ${last}`);
  const overlay = new Overlay(
    "The drawing as it went",
    image,
    [order.length, order[0].length],
    (row, column) => word(order[row][column]),
  );
  const slider = h("input", {
    type: "range",
    min: 0,
    max: last,
    value: last,
    "aria-label": "Pass of the drawing",
    oninput: () => show(Number(slider.value)),
  });
  let [timer, isHeat] = [0, false];
  const show = (pass) => {
    slider.value = pass;
    overlay.paint((row, column) => {
      const own = order[row][column];
      if (own > pass) return [128, 124, 116, 255];
      return isHeat && own > 0 ? [...heat(own / last), 215] : [0, 0, 0, 0];
    });
  };
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
  };
  const play = button("Play", () => {
    if (timer) {
      stop();
      return;
    }
    play.textContent = "Pause";
    let pass = Number(slider.value) < last ? Number(slider.value) : 0;
    timer = setInterval(() => {
      show(pass);
      pass += Math.max(1, Math.round(last / FRAMES));
      if (pass < last && slider.isConnected) return;
      show(last);
      stop();
    }, FRAME);
  });
  const turn = choice("How the order is shown", { cells: "Cells", colours: "Colours" }, "cells", (name) => {
    isHeat = name === "colours";
    show(Number(slider.value));
  });
  show(last);
  return titled(
    "In which order it came",
    `${last} passes; colours go from the first cells to the last`,
    overlay.element,
    h("div", { class: "row" }, play, slider),
    turn,
  );
}
