"""The demo's example scenes: three shapes, colours and motions, never trained in combination."""

from .scenes import Scene

_GREY, _DARK = (0.7, 0.7, 0.7), (0.4, 0.4, 0.4)
_LIGHT, _SHADE = (0.92, 0.9, 0.86), (0.6, 0.63, 0.66)

# By the file's name in assets/ (scripts/draw_examples.py); scripts/demo.py repeats the captions.
EXAMPLES = {
    "small_world_circle": Scene(
        shape="circle",
        colour="red",
        motion="left",
        x=46,
        y=32,
        radius=13,
        background=(_GREY, _GREY),
        angle=0.0,
        fps=8,
        wording=20,
    ),
    "small_world_square": Scene(
        shape="square",
        colour="blue",
        motion="down",
        x=32,
        y=17,
        radius=12,
        background=(_LIGHT, _SHADE),
        angle=0.6,
        fps=8,
        wording=18,
    ),
    "small_world_cross": Scene(
        shape="cross",
        colour="yellow",
        motion="grow",
        x=32,
        y=32,
        radius=11,
        background=(_DARK, _DARK),
        angle=0.0,
        fps=8,
        wording=19,
    ),
}
