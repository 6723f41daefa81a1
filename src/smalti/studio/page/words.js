/** Words for things: sizes, times, conditions, the command that draws the same. */

/** Words of emoji, which the model that ships learned from: for a first picture, and for the dice. */
export const THINGS = [
  "woman scientist: medium-dark skin tone",
  "red heart",
  "grinning face with smiling eyes",
  "man: medium skin tone",
  "cat face",
  "blue heart",
  "woman firefighter",
  "smiling face",
  "mushroom",
  "man with white hair",
  "flower",
  "rocket",
  "thumbs up: light skin tone",
  "green apple",
];

/** Return seconds in words: "0.4 s", "12 s", "2 min". */
export function duration(seconds) {
  if (seconds < 9.5) return `${Math.max(0.1, seconds).toFixed(1)} s`;
  return seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}

/** Return [height, width] as a person writes it: width first. */
export const shape = ([height, width]) => `${width} × ${height}`;

/** Return what is told of a condition in a few words, as the title of a picture; "" where nothing is. */
export function titled(condition) {
  const parts = Object.entries(condition).map(([keyword, value]) => worded(keyword, value));
  return parts.filter(Boolean).join(", ");
}

function worded(keyword, value) {
  if (value === null || value === undefined || value === "") return "";
  if (keyword === "text")
    return Array.isArray(value) ? value.map((one) => `“${one}”`).join(" → ") : `“${value}”`;
  if (keyword === "keypoints") return "a pose";
  if (Array.isArray(value))
    return Array.isArray(value[0]) ? value.map(([name]) => name).join(", ") : value.join(" → ");
  return String(value).startsWith("data:")
    ? `a ${keyword === "map" ? "painted map" : "picture"}`
    : String(value);
}

/** Return the command that draws the same picture, or null where its condition is no word. */
export function command(request, seed) {
  const options = Object.entries(request.condition).map(([keyword, value]) =>
    typeof value === "object" || String(value).startsWith("data:") ? null : `--${keyword} ${quoted(value)}`,
  );
  if (options.includes(null) || request.mix) return null;
  options.push(`--seed ${seed} --micro-batch 1`); // which gives the same bits
  if (request.size) options.push(`--size ${request.size.join("x")}`);
  if (request.guidance_scale !== 1) options.push(`--guidance ${request.guidance_scale}`);
  if (request.temperature !== 1) options.push(`--temperature ${request.temperature}`);
  if (request.top_k) options.push(`--top-k ${request.top_k}`);
  if (request.top_p) options.push(`--top-p ${request.top_p}`);
  return `smalti sample ${quoted(request.model)} OUT ${options.join(" ")}`;
}

const quoted = (value) => (/^[\w./-]+$/.test(value) ? value : `'${String(value).replaceAll("'", "'\\''")}'`);
