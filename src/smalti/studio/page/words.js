/** Words for things: sizes, times, conditions, the command that draws the same. */

/** Things that most captions know, for a first picture and for the dice. */
export const THINGS = ["red heart", "rocket", "cat face", "house", "tree", "fish", "sun", "blue car", "woman", "star", "crown", "cherries"];

/** Return seconds in words: "3 s", "2 min". */
export function duration(seconds) {
  if (seconds < 1) return "under a second";
  return seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}

/** Return [height, width] as a person writes it: width first. */
export const shape = ([height, width]) => `${width} × ${height}`;

/** Return what is told of a condition in a few words, as the title of a picture. */
export function titled(condition) {
  const parts = Object.entries(condition).map(([keyword, value]) => worded(keyword, value));
  return parts.filter(Boolean).join(", ") || "untold";
}

function worded(keyword, value) {
  if (value === null || value === undefined || value === "") return "";
  if (keyword === "text") return Array.isArray(value) ? value.map((one) => `“${one}”`).join(" → ") : `“${value}”`;
  if (keyword === "keypoints") return "a pose";
  if (Array.isArray(value)) return Array.isArray(value[0]) ? value.map(([name]) => name).join(", ") : value.join(" → ");
  return String(value).startsWith("data:") ? `a ${keyword === "map" ? "painted map" : "picture"}` : String(value);
}

/** Return the command that draws the same picture, or null where its condition is no word. */
export function command(request, seed) {
  const options = Object.entries(request.condition).map(([keyword, value]) =>
    typeof value === "object" || String(value).startsWith("data:") ? null : `--${keyword} ${quoted(value)}`);
  if (options.includes(null) || request.mix) return null;
  options.push(`--num 1 --seed ${seed}`);
  if (request.size) options.push(`--size ${request.size.join("x")}`);
  if (request.guidance_scale !== 1) options.push(`--guidance ${request.guidance_scale}`);
  if (request.temperature !== 1) options.push(`--temperature ${request.temperature}`);
  if (request.top_k) options.push(`--top-k ${request.top_k}`);
  if (request.top_p) options.push(`--top-p ${request.top_p}`);
  return `smalti sample ${quoted(request.model)} OUT ${options.join(" ")}`;
}

const quoted = (value) => (/^[\w./-]+$/.test(value) ? value : `'${String(value).replaceAll("'", "'\\''")}'`);
