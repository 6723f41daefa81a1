/** The page: header, tabs, and what all tabs share. */

import { get } from "./api.js";
import { announce, button, h, showProblem } from "./dom.js";
import { cancelAll } from "./jobs.js";
import * as canvas from "./tabs/canvas.js";
import * as compare from "./tabs/compare.js";
import * as complete from "./tabs/complete.js";
import * as inside from "./tabs/inside.js";
import * as paint from "./tabs/paint.js";
import * as runs from "./tabs/runs.js";
import * as sample from "./tabs/sample.js";

const TABS = {
  sample: ["Sample", sample],
  complete: ["Complete", complete],
  paint: ["Paint", paint],
  canvas: ["Canvas", canvas],
  inside: ["Look inside", inside],
  compare: ["Compare", compare],
  runs: ["Runs", runs],
};

/** What tabs know of one another and of the server. */
class App {
  constructor(models, limits) {
    this.models = models;
    this.limits = limits;
    this.panels = new Map();
  }

  /** Return the models that can do something, the first ones given to `smalti studio` first. */
  able(what) {
    return this.models.filter((model) => model.can.includes(what));
  }

  model(name) {
    return this.models.find((model) => model.name === name);
  }

  /** Open a tab, with a picture or a request for it: {image, model, request, history}. */
  open(name, payload = null) {
    for (const key of Object.keys(TABS)) {
      const isOpen = key === name;
      const tab = document.getElementById(`tab-${key}`);
      tab.setAttribute("aria-selected", String(isOpen));
      tab.tabIndex = isOpen ? 0 : -1;
      document.getElementById(`panel-${key}`).hidden = !isOpen;
      // not scrollIntoView, which would also move the place from which Tab goes on
      if (isOpen) tab.parentElement.scrollLeft = tab.offsetLeft - (innerWidth - tab.offsetWidth) / 2;
    }
    for (const [key, panel] of this.panels) if (key !== name) panel.hide?.();
    if (!this.panels.has(name)) {
      const panel = TABS[name][1].create(this);
      document.getElementById(`panel-${name}`).append(panel.element);
      this.panels.set(name, panel);
    }
    // the first one in place of the page's own address, so that Back goes through the tabs
    if (location.hash !== `#${name}`) history[location.hash ? "pushState" : "replaceState"](null, "", `#${name}`);
    this.panels.get(name).show?.();
    if (payload) this.panels.get(name).receive?.(payload);
  }
}

function layTabs(app, main) {
  const list = document.querySelector(".tabs");
  const names = Object.keys(TABS);
  for (const name of names) {
    const tab = button(TABS[name][0], () => app.open(name), {
      id: `tab-${name}`,
      role: "tab",
      "aria-controls": `panel-${name}`,
      "aria-selected": "false",
    });
    list.append(tab);
    const panel = {
      id: `panel-${name}`,
      class: "panel",
      role: "tabpanel",
      "aria-labelledby": tab.id,
      hidden: true,
    };
    main.append(h("section", panel));
  }
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const here = names.findIndex((name) => document.activeElement.id === `tab-${name}`);
    const there =
      { Home: 0, End: names.length - 1 }[event.key] ?? (step && (here + step + names.length) % names.length);
    if (there === undefined) return;
    event.preventDefault();
    app.open(names[there]);
    document.getElementById(`tab-${names[there]}`).focus();
  });
  addEventListener("hashchange", () => app.open(named(names)));
  app.open(named(names));
}

function named(names) {
  const wanted = location.hash.slice(1);
  return names.includes(wanted) ? wanted : "sample";
}

function laySwitches() {
  const root = document.documentElement;
  const dark = () =>
    (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) ===
    "dark";
  const theme = document.getElementById("theme");
  const tell = () => (theme.textContent = dark() ? "Light" : "Dark");
  theme.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    localStorage.setItem("smalti.theme", root.dataset.theme);
    tell();
  });
  tell();
  const pixels = document.getElementById("pixels");
  const turn = (on) => {
    root.classList.toggle("smooth", !on);
    pixels.setAttribute("aria-pressed", String(on));
    localStorage.setItem("smalti.pixels", on ? "on" : "off");
  };
  pixels.addEventListener("click", () => turn(root.classList.contains("smooth")));
  turn(localStorage.getItem("smalti.pixels") !== "off");
}

async function begin() {
  const main = document.getElementById("main");
  laySwitches();
  addEventListener("pagehide", cancelAll);
  try {
    const [models, limits] = await Promise.all([get("/api/models"), get("/api/limits")]);
    main.replaceChildren();
    layTabs(new App(models, limits), main);
  } catch (error) {
    showProblem(main, error);
    announce(error.message);
  }
}

begin();
