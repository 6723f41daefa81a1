/** Pictures as data: fitted to a size, read as pixels. */

import { canvasOf, loadImage, readFile } from "./dom.js";

const FRESH = 15 * 60e3; // milliseconds for which the server surely still has what it drew

/** A picture: its PNG or file as a data URL, its size [height, width], and its address where it was drawn here. */
export class Picture {
  constructor(data, size, url = null) {
    Object.assign(this, { data, size, url, at: Date.now() });
  }

  /** Read a data URL, or a picture of this server. */
  static async read(url) {
    const isHere = !url.startsWith("data:");
    const data = isHere ? await readFile(await (await fetch(url)).blob()) : url;
    const { naturalHeight, naturalWidth } = await loadImage(data);
    return new Picture(data, [naturalHeight, naturalWidth], isHere ? url : null);
  }

  /** What the API is given: by its address a drawn picture keeps its codes, nothing is encoded again. */
  get given() {
    return this.url && Date.now() - this.at < FRESH ? this.url : this.data;
  }

  /** Return it as height x width pixels, cut to cover them; itself if it has them. */
  async fitted([height, width]) {
    const [tall, wide] = this.size;
    if (tall === height && wide === width) return this;
    const [canvas, context] = canvasOf(height, width);
    const scale = Math.max(height / tall, width / wide);
    context.imageSmoothingQuality = "high";
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
    context.drawImage(
      await loadImage(this.data),
      (width - wide * scale) / 2,
      (height - tall * scale) / 2,
      wide * scale,
      tall * scale,
    );
    return new Picture(canvas.toDataURL("image/png"), [height, width]);
  }

  /** Return it as a model takes it: as it is, or fitted to the model's size. */
  forModel(model, pixels) {
    return this.fitted(workable(this.size, model, pixels));
  }
}

/** Return the size, [height, width], that a picture is worked on in: its own where a model can take it. */
function workable([height, width], model, pixels) {
  const whole = (side) =>
    Math.max(1, Math.floor((side * Math.min(1, Math.sqrt(pixels / (height * width)))) / model.factor)) *
    model.factor;
  if (!model.sizes.length) return [whole(height), whole(width)]; // a tokenizer takes any
  const [[rows, columns]] = model.sizes;
  const isWhole = height % model.factor === 0 && width % model.factor === 0;
  const isLarge = model.any_size || (height >= rows && width >= columns);
  return isWhole && isLarge && height * width <= pixels ? [height, width] : [rows, columns];
}

/** Return the pixels (RGBA) of a data URL. */
export async function pixelsOf(url) {
  const image = await loadImage(url);
  const [canvas, context] = canvasOf(image.naturalHeight, image.naturalWidth);
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}
