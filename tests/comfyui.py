"""A stand-in for what ComfyUI gives a node pack: its V3 classes, as far as ours uses them, and its calls.

Written from what ComfyUI's comfy_api/latest/_io.py, execution.py, nodes.py and comfy/utils.py do: classes of
types, each with an Input and an Output; a schema that a class method gives; `execute` as a class method of a
clone, in inference mode, with those inputs by name that are there; a pack imported from its folder's
__init__.py under a name made of its path; a progress bar that tells its hook only now and then.
"""

import asyncio
import importlib.util
import sys
import types
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch


class Interrupted(Exception):
    """What ComfyUI raises where its user stops the queue."""


def _type(name: str, of: type | None, **own: Any) -> type:
    """A type with an Input and an Output; own: what its Input takes beside the common, with defaults."""
    common = {"display_name": None, "tooltip": None, "optional": False}

    class Input:
        io_type = name

        def __init__(self, id: str, **given: Any) -> None:
            unknown = given.keys() - {*common, *own}
            assert not unknown, f"{name}.Input takes no {sorted(unknown)}"
            self.id, self.given = id, {**common, **own, **given}

        def check(self, value: Any) -> None:
            if of is not None:
                fits = isinstance(value, of) or (of is float and isinstance(value, int))
                assert fits, f"{self.id}: {value!r}"
            least, most = self.given.get("min"), self.given.get("max")
            assert least is None or least <= value <= most, f"{self.id}={value} is not {least} .. {most}"
            options = self.given.get("options")
            assert options is None or value in options, f"{self.id}={value} is none of {options}"
            _check_tensor(name, value)

    class Output:
        io_type = name

        def __init__(self, id: str | None = None, display_name: str | None = None) -> None:
            self.id, self.display_name = id, display_name

    return type(name, (), {"io_type": name, "Input": Input, "Output": Output})


def _check_tensor(name: str, value: Any) -> None:
    if name == "IMAGE":
        assert (value.dim(), value.dtype, value.device.type) == (4, torch.float32, "cpu")
        assert value.shape[-1] in (3, 4)
        assert 0 <= value.min() <= value.max() <= 1
    if name == "MASK":
        assert (value.dim(), value.dtype) == (3, torch.float32)


_WIDGET = {"default": None}
_NUMBER = {**_WIDGET, "min": None, "max": None, "step": None}


@dataclass
class Schema:
    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list = field(default_factory=list)
    outputs: list = field(default_factory=list)
    description: str = ""


class ComfyNode:
    @classmethod
    def GET_SCHEMA(cls) -> Schema:
        schema = cls.define_schema()
        ids = [one.id for one in schema.inputs]
        assert len(set(ids)) == len(ids)
        return schema


class NodeOutput:
    def __init__(self, *args: Any) -> None:
        self.args = args


class ComfyExtension:
    async def on_load(self) -> None:
        pass


class ProgressBar:
    """Tells its hook the first value, the last one and previews: as if the others came too soon."""

    hook: Any = None

    def __init__(self, total: int) -> None:
        self.total, self.current = total, 0

    def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
        is_told = self.current == 0 or value >= self.total or preview is not None
        self.total, self.current = total or self.total, value
        if is_told and ProgressBar.hook is not None:
            ProgressBar.hook(value, self.total, preview)

    def update(self, value: int) -> None:
        self.update_absolute(self.current + value)


class ComfyUI:
    """One that has started, with models in a folder; `interrupt` says whether its user wants to stop."""

    def __init__(self, models: Path) -> None:
        self.interrupt = lambda: False
        self.told: list[tuple[int, int, Any]] = []
        self.folders: dict[str, list[str]] = {}
        self.models, self.nodes = models, {}
        ProgressBar.hook = lambda *told: self.told.append(told)

    def modules(self) -> dict[str, types.ModuleType]:
        """What a pack imports, by name."""
        io = types.SimpleNamespace(
            Schema=Schema,
            ComfyNode=ComfyNode,
            NodeOutput=NodeOutput,
            Custom=lambda name: _type(name, None),
            Int=_type("INT", int, **_NUMBER, control_after_generate=None),
            Float=_type("FLOAT", float, **_NUMBER),
            String=_type("STRING", str, **_WIDGET, multiline=False),
            Combo=_type("COMBO", str, **_WIDGET, options=None),
            Image=_type("IMAGE", torch.Tensor),
            Mask=_type("MASK", torch.Tensor),
            Input=object,
            Output=object,
        )
        management = {"get_torch_device": lambda: torch.device("cpu")}
        management["throw_exception_if_processing_interrupted"] = self._stop
        folders = {"models_dir": str(self.models), "get_folder_paths": lambda name: self.folders[name][:]}
        folders["add_model_folder_path"] = lambda name, path: self.folders.setdefault(name, []).append(path)
        held = {
            "comfy": {},
            "comfy.model_management": management,
            "comfy.utils": {"ProgressBar": ProgressBar},
            "comfy_api": {},
            "comfy_api.latest": {"io": io, "ComfyExtension": ComfyExtension},
            "folder_paths": folders,
        }
        found = {name: types.ModuleType(name) for name in held}
        for name, values in held.items():
            vars(found[name]).update(values)
            above, _, own = name.rpartition(".")
            if above:
                setattr(found[above], own, found[name])
        return found

    def load(self, folder: Path) -> None:
        """Import a pack as custom_nodes are, and take its nodes."""
        name = str(folder).replace(".", "_x_")
        spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        extension = asyncio.run(module.comfy_entrypoint())
        assert isinstance(extension, ComfyExtension)
        asyncio.run(extension.on_load())
        self.nodes = {node.GET_SCHEMA().node_id: node for node in asyncio.run(extension.get_node_list())}

    def run(self, prompt: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, tuple[Any, ...]]:
        """Run a workflow: name -> (node, inputs); a link is [name, output]. Gives all outputs by name.

        Links are checked by type, values as ComfyUI's validation does; what is optional may be left out.
        """
        done: dict[str, tuple[Any, ...]] = {}
        for key, (node_id, inputs) in prompt.items():
            schema = self.nodes[node_id].GET_SCHEMA()
            known = {one.id: one for one in schema.inputs}
            assert inputs.keys() <= known.keys(), f"{node_id} has no {inputs.keys() - known.keys()}"
            missing = {one.id for one in schema.inputs if not one.given["optional"]} - inputs.keys()
            assert not missing, f"{node_id} needs {missing}"
            given = {}
            for name, value in inputs.items():
                if isinstance(value, list):
                    outputs = self.nodes[prompt[value[0]][0]].GET_SCHEMA().outputs
                    assert outputs[value[1]].io_type == known[name].io_type, f"{name} from {value}"
                    value = done[value[0]][value[1]]
                known[name].check(value)
                given[name] = value
            done[key] = self._execute(self.nodes[node_id], schema, given)
        return done

    def _execute(self, node: type, schema: Schema, given: dict[str, Any]) -> tuple[Any, ...]:
        clone = type(f"{node.__name__}Clone", (node,), {})
        with torch.inference_mode():
            found = clone.execute(**given)
        assert isinstance(found, NodeOutput)
        assert len(found.args) == len(schema.outputs)
        for value, output in zip(found.args, schema.outputs, strict=True):
            _check_tensor(output.io_type, value)
        return found.args

    def _stop(self) -> None:
        if self.interrupt():
            raise Interrupted


@contextmanager
def started(folder: Path, models: Path) -> Any:
    """Within, a ComfyUI that has loaded the pack in a folder; models: its own folder of models."""
    ui = ComfyUI(models)
    before = dict(sys.modules)
    sys.modules.update(ui.modules())
    try:
        ui.load(folder)
        yield ui
    finally:
        for name in sys.modules.keys() - before.keys():
            if name.startswith(("comfy", "folder_paths", str(folder).replace(".", "_x_"))):
                del sys.modules[name]
