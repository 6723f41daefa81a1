/** Marks on a picture that are dragged, or moved by keys: corners of boxes, points, joints. */

import { h } from "../dom.js";

const STEP = 0.02; // of a side, that a key moves a mark by

export const within = (value) => Math.min(1, Math.max(0, value));

/** Make the empty sheet on which marks lie. */
export function sheet(label, [height, width]) {
  const element = h("div", { class: "sheet", role: "group", "aria-label": label });
  element.style.setProperty("aspect-ratio", `${width} / ${height}`);
  return element;
}

/** Return where on a sheet a pointer is, in shares of its sides. */
export function placed(sheet, event) {
  const box = sheet.getBoundingClientRect();
  return [within((event.clientX - box.left) / box.width), within((event.clientY - box.top) / box.height)];
}

/**
 * Let an element be dragged over a sheet.
 * @param {Element} element
 * @param {Element} over the sheet
 * @param {(dx: number, dy: number, isSecond: boolean) => void} move by shares; isSecond: with shift
 * @param {() => void} end told when the drag or a key's move is over
 */
export function draggable(element, over, move, end) {
  let last = null;
  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.stopPropagation();
    element.setPointerCapture(event.pointerId);
    last = placed(over, event);
  });
  element.addEventListener("pointermove", (event) => {
    if (!last) return;
    const here = placed(over, event);
    move(here[0] - last[0], here[1] - last[1], event.shiftKey);
    last = here;
  });
  const stop = () => {
    if (last) end();
    last = null;
  };
  element.addEventListener("pointerup", stop);
  element.addEventListener("pointercancel", stop);
  element.addEventListener("keydown", (event) => {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[
      event.key
    ] || [0, 0];
    if (!dx && !dy) return;
    event.preventDefault();
    move(dx * STEP, dy * STEP, event.shiftKey);
    end();
  });
}
