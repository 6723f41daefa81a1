/** Elements, labels and files: what all tabs are built of. */

let counter = 0;

/** Return an id that nothing else on the page has. */
export function unique(name) {
  counter += 1;
  return `${name}-${counter}`;
}

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "open", "selected", "indeterminate"]);

/**
 * Make an element.
 * @param {string} tag
 * @param {Object<string, any>} [props] attributes; `onclick` and the like are listeners, `css` sets style properties
 * @param {...(Node|string|null|undefined)} children
 * @returns {any} the element
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "css")
      for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
    else if (PROPERTIES.has(name)) element[name] = value;
    else if (value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Make an element of SVG, with attributes alone. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** Make a button that does `act` when pressed. */
export function button(text, act, props = {}) {
  return h("button", { type: "button", onclick: act, ...props }, text);
}

/** Put a visible label before a control, and a word of help under it. */
export function field(label, control, hint = "") {
  control.id ||= unique("field");
  const more = hint ? h("small", { id: unique("hint") }, hint) : null;
  if (more) control.setAttribute("aria-describedby", more.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, more);
}

/**
 * Make a row of buttons of which one is pressed, as radio buttons are.
 * @param {string} label for screen readers
 * @param {Object<string, string>} choices value -> text
 * @param {string} chosen
 * @param {(value: string) => void} act told of a new choice
 */
export function choice(label, choices, chosen, act) {
  const name = unique("choice");
  const rows = Object.entries(choices).map(([value, text]) => {
    const input = h("input", {
      type: "radio",
      name,
      value,
      checked: value === chosen,
      onchange: () => act(value),
    });
    return h("label", {}, input, h("span", {}, text));
  });
  const element = h("fieldset", { class: "choice" }, h("legend", { class: "unseen" }, label), ...rows);
  element.choose = (value) => {
    element.querySelector(`input[value="${value}"]`).checked = true;
    act(value);
  };
  return element;
}

/** Say something to screen readers, politely. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

/** Show what went wrong in a line of its own, as an alert; nothing for a falsy one. */
export function showProblem(place, problem) {
  place.replaceChildren();
  if (problem) place.append(h("p", { class: "problem", role: "alert" }, problem.message || String(problem)));
}

/** Make the unseen control that asks for an image file, clicked by a button; the same file may be chosen again. */
export function chooser(act) {
  const input = h("input", {
    type: "file",
    accept: "image/*",
    class: "unseen",
    tabindex: -1,
    "aria-hidden": "true",
    onchange: () => {
      if (input.files[0]) act(input.files[0]);
      input.value = "";
    },
  });
  return input;
}

/** Read a file as a data URL. */
export function readFile(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(new Error(`${file.name} cannot be read`)));
    reader.readAsDataURL(file);
  });
}

/** Load an image from an address or a data URL. */
export function loadImage(url) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.addEventListener("load", () => resolve(image));
    image.addEventListener("error", () => reject(new Error("this is no image that the browser can open")));
    image.src = url;
  });
}

/** Make a canvas of height x width pixels, and its context. */
export function canvasOf(height, width) {
  const canvas = h("canvas", { width, height });
  return [canvas, canvas.getContext("2d", { willReadFrequently: true })];
}

/** Call a function when nobody asked for it again for so many milliseconds. */
export function settled(act, wait) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...given), wait);
  };
}
