/** Pictures as data: fitted to a size, read as pixels, set into a larger one. */

import { canvasOf, loadImage, readFile } from "./dom.js";

/** Return a picture as a data URL, a PNG of height x width pixels, cut to cover it; one that fits stays as it is. */
export async function fitted(url, [height, width]) {
  const image = await loadImage(url);
  if (image.naturalHeight === height && image.naturalWidth === width && url.startsWith("data:image/png")) return url;
  const [canvas, context] = canvasOf(height, width);
  const scale = Math.max(height / image.naturalHeight, width / image.naturalWidth);
  const [wide, tall] = [image.naturalWidth * scale, image.naturalHeight * scale];
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(image, (width - wide) / 2, (height - tall) / 2, wide, tall);
  return canvas.toDataURL("image/png");
}

/** Return a picture of this server, or a data URL, as a data URL. */
export async function asData(url) {
  if (url.startsWith("data:")) return url;
  return readFile(await (await fetch(url)).blob());
}

/** Return the size, [height, width], that a picture is worked on in: its own where a model can take it. */
export function workable([height, width], model, pixels) {
  const [[rows, columns]] = model.sizes;
  const isWhole = height % model.factor === 0 && width % model.factor === 0;
  const isLarge = model.any_size || (height >= rows && width >= columns);
  return isWhole && isLarge && height * width <= pixels ? [height, width] : [rows, columns];
}

/** Return a picture's pixels (RGBA) at its own size, with that size. */
export async function pixelsOf(url) {
  const image = await loadImage(url);
  const [canvas, context] = canvasOf(image.naturalHeight, image.naturalWidth);
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/** Set a picture into a larger one whose new parts go on as its borders are; sides: pixels added at each side. */
export async function grown(url, { top, right, bottom, left }) {
  const image = await loadImage(url);
  const [height, width] = [image.naturalHeight, image.naturalWidth];
  const [canvas, context] = canvasOf(height + top + bottom, width + left + right);
  context.drawImage(image, left, top);
  const stretch = (...parts) => parts[6] > 0 && parts[7] > 0 && context.drawImage(canvas, ...parts);
  stretch(left, top, 1, height, 0, top, left, height);
  stretch(left + width - 1, top, 1, height, left + width, top, right, height);
  stretch(0, top, canvas.width, 1, 0, 0, canvas.width, top);
  stretch(0, top + height - 1, canvas.width, 1, 0, top + height, canvas.width, bottom);
  return canvas.toDataURL("image/png");
}

/** Return a mask, white but for a black rectangle: what is kept. */
export function around([height, width], { top, left, tall, wide }) {
  const [canvas, context] = canvasOf(height, width);
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.fillStyle = "#000";
  context.fillRect(left, top, wide, tall);
  return canvas.toDataURL("image/png");
}
