"""What a prior can be conditioned on: the members by kind."""

from typing import Annotated, Any

from smalti.schema import Line, Members, Option, Shelf

CONDITIONS = Members(
    __name__,
    {
        "none": Line("none", "NoConditionSettings", "NoCondition"),
        "label": Line(
            "label",
            "LabelSettings",
            "LabelCondition",
            Option("Class name, or its number where no class is called so."),
        ),
        "map": Line(
            "map",
            "MapSettings",
            "MapCondition",
            Option("Image file of a map, for a model that is told one.", is_file=True),
        ),
        "coordinates": Line("coordinates", "CoordinatesSettings", "CoordinatesCondition"),
        "boxes": Line(
            "boxes",
            "BoxesSettings",
            "BoxesCondition",
            Option("JSON file: a list of [class, x0, y0, x1, y1], from 0 to 1.", is_file=True),
        ),
        "points": Line(
            "points",
            "PointsSettings",
            "PointsCondition",
            Option("JSON file: a list of [class, x, y], from 0 to 1.", is_file=True),
        ),
        "text": Line(
            "text",
            "TextSettings",
            "TextCondition",
            Option("What is drawn, in words, or a .txt file of a line each.", is_many=True),
        ),
        "keypoints": Line(
            "keypoints",
            "KeypointsSettings",
            "KeypointsCondition",
            Option("JSON file: {joint: [x, y, visibility], ...}, x and y from 0 to 1.", is_file=True),
        ),
        "joint": Line("joint", "JointSettings", "JointCondition"),
    },
)

ConditionSettings = Annotated[Any, Shelf(CONDITIONS, several="joint")]

__all__ = ["CONDITIONS", "ConditionSettings"]
