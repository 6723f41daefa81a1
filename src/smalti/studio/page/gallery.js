/** Pictures on the wall: frames that fill cell by cell, their labels, and what one can do with them. */

import { announce, button, h } from "./dom.js";
import { Job } from "./jobs.js";
import { Picture } from "./pictures.js";
import { view } from "./viewer.js";
import { duration, titled } from "./words.js";

/** A framed picture: it has its size before the first cell is drawn. */
export class Tile {
  /** request: as it was sent; size: [height, width]; actions: name -> (tile) => void, buttons below it. */
  constructor(app, { request, seed, size, actions = {} }) {
    Object.assign(this, { app, request, seed, size, url: null, picture: null, metadata: null, order: null });
    this.title = titled(request.condition) || request.model;
    this.image = h("img", { alt: "", width: size[1], height: size[0], decoding: "sync" });
    this.open = button("", () => this.picture && view(this), {
      class: "frame",
      disabled: true,
      "aria-label": `${this.title}, seed ${seed}, being drawn`,
    });
    this.open.append(this.image);
    const { factor } = app.model(request.model);
    const looks = {
      "aspect-ratio": `${size[1]} / ${size[0]}`,
      "--columns": size[1] / factor,
      "--rows": size[0] / factor,
    };
    for (const [name, value] of Object.entries(looks)) this.open.style.setProperty(name, value);
    this.caption = h("span", {}, `seed ${seed}`);
    const buttons = Object.entries(actions).map(([text, act]) =>
      button(text, () => act(this), { class: "quiet", disabled: true }),
    );
    this.actions = h("div", { class: "actions" }, ...buttons);
    this.element = h("figure", { class: "tile" }, this.open, h("figcaption", {}, this.caption, this.actions));
    this.element.style.setProperty("--ratio", Math.sqrt(size[1] / size[0]).toFixed(3));
  }

  /** Show the picture as far as it is. */
  progress({ preview, cells, of }) {
    if (preview && !this.url) this.image.src = preview;
    this.open.style.setProperty("--done", cells / of);
    this.element.classList.add("drawing");
  }

  /** Show the finished picture; order: the pass in which each cell came. */
  async finish({ url, seed, metadata, order }) {
    Object.assign(this, { url, metadata, seed, order });
    this.picture = await Picture.read(url);
    this.app.latest = this;
    this.image.src = this.picture.data;
    this.image.alt = `${this.title}, seed ${seed}`;
    this.open.disabled = false;
    this.open.setAttribute("aria-label", `${this.title}, seed ${seed}: look closer`);
    this.element.classList.remove("drawing");
    this.element.classList.add("done");
    for (const one of this.actions.children) one.disabled = false;
  }

  /** Return what another tab needs to go on with it. */
  get payload() {
    const { picture, request, seed, order } = this;
    return { picture, request: { ...request, seed, num: 1 }, order };
  }

  /** Take it off the wall unless it was finished. */
  drop() {
    if (!this.url) this.element.remove();
  }
}

/** A line that says how a drawing goes: a bar, words, and a button to stop it. It keeps its height. */
export class Progress {
  constructor() {
    this.bar = h("progress", { max: 1, value: 0, "aria-label": "Drawing" });
    this.text = h("span", { class: "told" });
    this.stop = button("Stop", () => this.job.cancel(), { class: "quiet" });
    this.line = h("div", { class: "progress" }, this.bar, this.text, this.stop);
    this.notes = h("p", { class: "hint" });
    this.element = h("div", { class: "going" }, this.line, this.notes);
    this.rest("");
  }

  /** Show how a job goes from here on. */
  begin(job) {
    this.job = job;
    this.line.classList.add("busy");
    this.line.classList.remove("bad");
    this.note([]);
    this.stop.disabled = false;
    this.tell(0, "Asking …");
  }

  tell(share, text) {
    this.bar.value = share;
    this.text.textContent = text;
  }

  /** Say what the model lets a person know of this request. */
  note(notes) {
    this.notes.textContent = notes.map((text) => `${text[0].toUpperCase()}${text.slice(1)}.`).join(" ");
  }

  rest(text, isBad = false) {
    this.line.classList.remove("busy");
    this.line.classList.toggle("bad", isBad);
    this.stop.disabled = true;
    this.tell(0, text);
    if (text) announce(text);
  }
}

/**
 * Ask for pictures and hang them as they come.
 * @param {object} app
 * @param {"sample"|"complete"} what
 * @param {object} request
 * @param {object} how
 * @param {Tile[]} how.tiles one for each picture
 * @param {Progress} how.progress
 * @param {(tile: Tile) => void} [how.onimage] told of each finished picture
 * @param {(how: string, seconds: number) => void} [how.onended]
 * @returns {Job}
 */
export function draw(app, what, request, { tiles, progress, onimage, onended }) {
  const isShown = () => progress.job === job; // a newer drawing may have taken the line over
  const shares = tiles.map(() => 0);
  const coming = [];
  let left = null;
  let seconds = 0;
  const tell = () => {
    if (!isShown()) return;
    const share = shares.reduce((sum, one) => sum + one, 0) / shares.length;
    const done = tiles.filter(({ url }) => url).length;
    const time = left === null ? "" : ` · ${duration(left)} left`;
    progress.tell(share, tiles.length === 1 ? `Drawing${time}` : `${done} of ${tiles.length} drawn${time}`);
  };
  const job = new Job(what, request, {
    noted: (notes) => isShown() && progress.note(notes),
    queued: ({ place }) =>
      isShown() && progress.tell(0, place ? `Waiting, ${place} before this one` : "Starting …"),
    progress: (event) => {
      tiles[event.index].progress(event);
      shares[event.index] = event.cells / event.of;
      left = event.left_seconds ?? left;
      tell();
    },
    image: (event) => {
      const tile = tiles[event.index];
      coming.push(tile.finish(event).then(() => onimage?.(tile)));
      shares[event.index] = 1;
      tell();
    },
    done: (event) => {
      seconds = event.seconds;
      if (isShown())
        progress.rest(`${tiles.length === 1 ? "Drawn" : `${tiles.length} drawn`} in ${duration(seconds)}`);
    },
    failed: (error) => isShown() && progress.rest(error.message, true),
    cancelled: () => isShown() && progress.rest("Stopped"),
    ended: async (name) => {
      await Promise.allSettled(coming);
      for (const tile of tiles) tile.drop();
      onended?.(name, seconds);
    },
  });
  progress.begin(job);
  return job;
}

/** Return frames for all pictures of a request. */
export function framed(app, request, size, actions) {
  return Array.from(
    { length: request.num },
    (_, index) => new Tile(app, { request, seed: request.seed + index, size, actions }),
  );
}
