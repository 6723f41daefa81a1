"""A page to draw on, for hosted demos: `python app.py`, or a space of the SDK gradio.

SMALTI_MODEL names the model. What it is told becomes a field each: labels a list, texts a line, maps an
image. Images appear one by one; each is what `smalti sample MODEL OUT --seed SEED --micro-batch 1` draws.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

import gradio as gr
from PIL import Image

import smalti

MOST = 8  # images of a request; Gradio refuses what is outside of a field's limits
LONGEST = 500  # characters of a text
LARGEST = 4  # sides of a canvas, in training crops
WAITING = 20  # requests in the queue


def page(model: smalti.Pipeline) -> gr.Blocks:
    """Return the page of a model. UserError for one that is told what no field here can say."""
    height, width = model.crop_size
    with gr.Blocks(title="smalti", analytics_enabled=False) as blocks:
        gr.Markdown("# smalti\nImages laid token by token: each cell is drawn by what lies before it.")
        with gr.Row():
            with gr.Column():
                fields = [_field(name, one) for name, one in model.condition.named.items()]
                num = gr.Slider(1, MOST, value=4, step=1, label="Images")
                seed = gr.Number(value=0, precision=0, label="Seed", info="Image i has the seed + i.")
                sides = [_side(model, *one) for one in (("Height", height), ("Width", width))]
                guided = bool(model.condition.loose)  # else it was never left out in training
                how = {"value": 3 if guided else 1, "visible": guided}
                guidance = gr.Slider(1, 8, step=0.1, label="Guidance", info="1 is off.", **how)
                with gr.Row():
                    draw = gr.Button("Draw", variant="primary")
                    further = gr.Button("Next seeds")
                    stop = gr.Button("Stop")
            with gr.Column(scale=2):
                gallery = gr.Gallery(label="Drawn", columns=4, format="png", object_fit="contain")
        asked, drawing = [num, seed, *sides, guidance, *fields], _drawing(model)
        drawn = draw.click(drawing, asked, gallery, api_name="draw")
        seeds = further.click(lambda seed, num: seed + num, [seed, num], seed, api_visibility="private")
        again = seeds.then(drawing, asked, gallery, api_visibility="private")
        stop.click(None, cancels=[drawn, again])
    return blocks.queue(max_size=WAITING, default_concurrency_limit=1)


def _drawing(model: smalti.Pipeline) -> Callable[..., Iterator[list[Image.Image]]]:
    """Return what the button does: it gives all images that are there, after each one."""

    def drawing(
        num: int, seed: int, height: int, width: int, guidance: float, *values: Any
    ) -> Iterator[list[Image.Image]]:
        told = {}
        for (name, one), value in zip(model.condition.named.items(), values, strict=True):
            computed = one.settings.kind == "map" and one.compute is not None
            if isinstance(value, Image.Image) and not computed:
                value = value.resize((int(width), int(height)), Image.Resampling.NEAREST)
            told["from_image" if computed else name] = value or None
        options = {"size": (int(height), int(width)), "seed": int(seed), "guidance_scale": guidance}
        found: list[Image.Image] = []
        try:
            for image in model.iter_samples(int(num), micro_batch=1, **options, **told):
                found.append(image)
                yield found
        except smalti.UserError as problem:
            raise gr.Error(str(problem), print_exception=False) from None

    return drawing


def _field(name: str, condition: Any) -> Any:
    """Return the field of a condition."""
    settings = condition.settings
    if settings.kind == "label":
        classes = [str(one) for one in settings.names or range(settings.classes)]
        return gr.Dropdown(classes, value=classes[0], label=name)
    if settings.kind == "text":
        return gr.Textbox(label=name, max_length=LONGEST, placeholder="What is drawn, in words.")
    if settings.kind == "map":
        return gr.Image(type="pil", label=name)
    raise smalti.UserError("a model that is told labels, texts or maps", name, "give another SMALTI_MODEL")


def _side(model: smalti.Pipeline, label: str, crop: int) -> gr.Slider:
    """Return the field of a side in pixels, of whole cells."""
    return gr.Slider(crop, LARGEST * crop, value=crop, step=model.tokenizer.factor, label=label)


if __name__ == "__main__":
    page(smalti.Pipeline.from_pretrained(os.environ.get("SMALTI_MODEL", "emoji"))).launch()
