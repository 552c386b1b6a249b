"""What the demo gives the embedded model in each workflow: pictures, prompts and settings.

The model knows 64 x 64 pictures of one coloured object (docs/demo_model.md) and nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Of every workflow; an example's own come on top.
SETTINGS = {"width": 64, "height": 64, "steps": 25, "cfg": 2.0, "fps": 8, "seed": 2}

CIRCLE, HALF_WAY, ARRIVED = (f"small_world_circle{end}.png" for end in ("", "_half", "_end"))
SQUARE, CROSS = "small_world_square.png", "small_world_cross.png"
LEFT = "a large red circle moves left on a plain background"
RIGHT = "a large red circle moves right on a plain background"
FALLS = "a blue square falls down on a gradient background"
RISES = "a blue square rises up on a gradient background"
GROWS = "a yellow cross becomes larger on a plain background"
CROSS_LEFT = "a yellow cross moves left on a plain background"


@dataclass(frozen=True)
class Example:
    """What a workflow gets, in its own order: names in assets/, prompts, settings that differ.

    inputs: of single nodes, by their title or type.
    """

    pictures: tuple[str, ...] = (CIRCLE,)
    prompts: tuple[str, ...] = (LEFT,)
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


_PLAIN = Example()
_SIZE = {"width": 64, "height": 64}
EXAMPLES: Mapping[str, Example] = {
    "animate": _PLAIN,
    "box": _PLAIN,
    "1024": Example((SQUARE,), (FALLS,)),
    "256": Example((CROSS,), (GROWS,)),
    "cil": _PLAIN,
    "extend": Example(prompts=(LEFT, RIGHT)),
    "fast": Example((SQUARE,), (FALLS,), {"steps": 10}),
    "folder": Example((CIRCLE, HALF_WAY), (LEFT,)),
    "refine": Example((SQUARE,), (FALLS,), {"scale_by": 1.0}),
    "interpolate": Example((CIRCLE, ARRIVED)),
    "keyframes": Example((CIRCLE, HALF_WAY, ARRIVED), (f"0: {LEFT}\n8: {LEFT}",)),
    "lambda": _PLAIN,
    "long": Example(settings={"frames": 32}),
    "low_memory": Example((CROSS,), (GROWS,), {"weight_dtype": "default"}),
    "prompt_travel": Example(prompts=(f"0: {LEFT}\n8: {RIGHT}",)),
    "loop": Example(settings={"cfg": 1.0}),
    "ksampler": Example((SQUARE,), (FALLS,)),
    # The tiny model keeps to its words until little noise is left: the clocks of these two are
    # those of docs/motion.md#measured.
    "camera": Example((CROSS,), (CROSS_LEFT,), {"weak_timestep": 200, "strong_timestep": 60}),
    # Against the words.
    "drag": Example(
        (CROSS,),
        (CROSS_LEFT,),
        {"weak_timestep": 120, "strong_timestep": 120},
        {
            "ImageScale": _SIZE,
            "Nothing": _SIZE,
            "The box's size": {"width": 26, "height": 26},
            "What moves: the box's place": {"x": 19, "y": 19},
            "DynamiCrafterDragMotion": {"path": "48, 22"},
        },
    ),
    # Room for the way to the left, which the words ask for.
    "region": Example(
        (CROSS,),
        (CROSS_LEFT,),
        inputs={
            "ImageScale": _SIZE,
            "Nothing": _SIZE,
            "The box's size": {"width": 50, "height": 36},
            "What may move: the box's place": {"x": 0, "y": 14},
            "DynamiCrafterReferenceMotion": {"soft_border": 4},
        },
    ),
    "storytelling": Example((CIRCLE, SQUARE), (LEFT, RIGHT, FALLS, RISES)),
    # In the middle of its image, so no motion leads out of it.
    "motion_control": Example(
        (CROSS,),
        tuple(
            f"a yellow cross {motion} on a plain background"
            for motion in ("moves left", "moves right", "moves up", "becomes larger")
        ),
    ),
    "guidance": Example(settings={"image_cfg": 1.5}),
}
