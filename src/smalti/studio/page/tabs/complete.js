/** To come. */

import { h } from "../dom.js";

/** Make the tab. */
export function create() {
  return { element: h("p", {}, "To come.") };
}
