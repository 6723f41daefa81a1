"""smalti in ComfyUI: this folder, copied or linked into `custom_nodes`, is the pack."""

# ComfyUI imports the folder under a name made of its path: modules beside this one have no other name
from .nodes import comfy_entrypoint  # noqa: TID252

__all__ = ["comfy_entrypoint"]
