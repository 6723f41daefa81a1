/** Runs: curves, sample sheets and alarms of trainings, as they go. */

import { get } from "../api.js";
import { chart } from "../chart.js";
import { announce, button, h, settled, showProblem } from "../dom.js";
import { hue } from "../painters/map.js";
import { duration } from "../words.js";

const AGAIN = 1000; // milliseconds between two drawings of the curves
const LINES = 6; // curves in a chart
const VALIDATION = "validation: ";
const STATES = { running: "running", done: "done", stopped: "stopped" };

/** Make the tab. */
export function create(app) {
  return new Runs(app);
}

class Runs {
  constructor() {
    Object.assign(this, { name: null, source: null, lines: [], sheets: [], alarms: [] });
    this.problem = h("div");
    this.list = h("ul", { class: "runs" });
    this.page = h("div", { class: "run" });
    this.draw = settled(() => this.lay(), AGAIN);
    this.element = h(
      "div",
      { class: "bench" },
      h(
        "div",
        { class: "controls" },
        h(
          "div",
          { class: "row apart" },
          h("h2", {}, "Runs"),
          button("Look again", () => this.show(), { class: "quiet" }),
        ),
        this.list,
      ),
      h("div", {}, this.problem, this.page),
    );
  }

  async show() {
    try {
      const runs = await get("/api/runs");
      showProblem(this.problem, null);
      this.list.replaceChildren(...runs.map((run) => this.entry(run)));
      if (!runs.length) this.page.replaceChildren(nothing());
      else await this.open(runs.some(({ name }) => name === this.last) ? this.last : runs[0].name);
    } catch (error) {
      showProblem(this.problem, error);
    }
  }

  entry(run) {
    const steps = run.steps ? `step ${run.step} of ${run.steps}` : `step ${run.step}`;
    const ago = run.updated ? `, ${duration(Math.max(0, Date.now() / 1000 - run.updated))} ago` : "";
    const alarms = run.alarms
      ? h("span", { class: "alarm" }, run.alarms === 1 ? "1 alarm" : `${run.alarms} alarms`)
      : null;
    const entry = button("", () => this.open(run.name), {
      "aria-pressed": String(run.name === this.name),
      "data-name": run.name,
    });
    entry.append(
      h("b", {}, run.name),
      h("small", {}, `${STATES[run.state] || ""} · ${steps}${ago}`),
      ...(alarms ? [alarms] : []),
    );
    return h("li", {}, entry);
  }

  async open(name) {
    this.source?.close();
    this.name = this.last = name;
    for (const entry of this.list.querySelectorAll("button"))
      entry.setAttribute("aria-pressed", String(entry.dataset.name === name));
    try {
      const { lines, sheets, alarms, at } = await get(`/api/runs/${encodeURIComponent(name)}`);
      if (this.name !== name) return;
      Object.assign(this, { lines, sheets, alarms });
      this.lay();
      this.follow(name, at);
    } catch (error) {
      showProblem(this.problem, error);
    }
  }

  /** Listen to what comes after the first `at` bytes of its log. */
  follow(name, at) {
    this.source = new EventSource(`/api/runs/${encodeURIComponent(name)}/events?at=${at}`);
    const told = (event, act) =>
      this.source.addEventListener(event, ({ data }) => {
        act(JSON.parse(data));
        this.draw();
      });
    told("line", (line) => {
      this.lines.push(line);
      if (line.kind !== "alarm") return;
      this.alarms.push(line);
      announce(`alarm at step ${line.step}`);
    });
    told("sheet", (sheet) => this.sheets.push(sheet));
    told("again", () => this.open(name));
  }

  /** Stop listening while nobody looks. */
  hide() {
    this.source?.close();
    this.name = null;
  }

  lay() {
    const { name, lines, sheets, alarms } = this;
    const place = this.page.querySelector("input")?.value;
    const told = alarms.map((alarm) => h("li", {}, `step ${alarm.step}, ${wordsOf(alarm)}`));
    const all = Object.entries(grouped(lines));
    const isMain = ([title]) => title === "loss" || title.startsWith(VALIDATION);
    const charts = (some) =>
      h(
        "div",
        { class: "charts" },
        ...some.map(([title, curves]) => chart(title, curves, (index) => `rgb(${hue(index).slice(0, 3)})`)),
      );
    const more = h(
      "details",
      { class: "more", open: this.page.querySelector("details")?.open || false },
      h("summary", {}, "More curves"),
      charts(all.filter((one) => !isMain(one))),
    );
    this.page.replaceChildren(
      h("h2", {}, name),
      ...(told.length
        ? [h("section", { class: "alarms" }, h("h3", {}, "Alarms"), h("ul", {}, ...told))]
        : []),
      charts(all.filter(isMain)),
      ...(sheets.length ? [sheetsOf(sheets, place)] : []),
      more,
    );
    if (!lines.length) this.page.append(h("p", { class: "hint" }, "No line in its log yet."));
  }
}

const wordsOf = ({ name = "", finding, remedy, text }) =>
  [name.replaceAll("_", " "), finding, remedy, text].filter(Boolean).join(": ");

function nothing() {
  return h(
    "div",
    { class: "empty" },
    h("h2", {}, "No runs to look at"),
    h("p", {}, "Say in which folder trainings write, and they are shown here while they go:"),
    h("pre", {}, "smalti studio --runs runs"),
  );
}

/** The sheets of samples, the newest unless another one was looked at. */
function sheetsOf(sheets, place) {
  const last = sheets.length - 1;
  const image = h("img", { alt: "", class: "sheet-of-samples" });
  const told = h("span", { class: "told" });
  const slider = h("input", {
    type: "range",
    min: 0,
    max: last,
    value: place ?? last,
    "aria-label": "Which sheet of samples",
    oninput: () => tell(),
  });
  const tell = () => {
    const { step, url } = sheets[slider.value];
    image.src = url;
    image.alt = `Samples at step ${step}`;
    told.textContent = `step ${step}`;
  };
  slider.hidden = !last;
  tell();
  return h("section", {}, h("h3", {}, "Samples"), image, h("div", { class: "row" }, slider, told));
}

/** Return title -> curves: numbers that have the first part of their name in common lie in one chart. */
function grouped(lines) {
  const found = {};
  for (const { step, kind, ...values } of lines) {
    if (kind !== "train" && kind !== "validation") continue;
    for (const [name, value] of Object.entries(values)) {
      if (typeof value !== "number" || !Number.isFinite(value)) continue;
      const [first, ...rest] = name.split("/");
      const title = kind === "train" ? first : `${VALIDATION}${first}`;
      ((found[title] ||= {})[rest.join("/") || first] ||= []).push([step, value]);
    }
  }
  return Object.fromEntries(
    Object.entries(found).map(([title, curves]) => [
      title,
      Object.fromEntries(Object.entries(curves).slice(0, LINES)),
    ]),
  );
}
