"""Prompt Schedule: a prompt per segment of the video."""

from comfy_api.latest import io

from ..dc_model.prompts.schedule import frame_texts, parse_schedule, segment_weights
from .door import checked
from .host import keys
from .host.protocols import Clip, Conditioning
from .inputs import CATEGORY, integer

# The cross-fade that the node begins with.
BLEND_FRAMES = 4


def encode_schedule(
    clip: Clip, prompts: str, length: int, blend_frames: int = BLEND_FRAMES
) -> Conditioning:
    """CONDITIONING with a row of text per frame, and the hooks that the CLIP carries.

    Scheduled hooks of the CLIP make several entries, each for its range of steps.
    """
    segments = parse_schedule(prompts, length)
    encoded = {
        s.prompt: clip.encode_from_tokens_scheduled(clip.tokenize(s.prompt)) for s in segments
    }
    weights = segment_weights([s.start for s in segments], length, blend_frames)
    ranges = zip(*(encoded[s.prompt] for s in segments), strict=True)
    return [
        [
            frame_texts([text for text, _ in parts], weights),
            {**parts[0][1], keys.TEXT_PER_FRAME: True},
        ]
        for parts in ranges
    ]


class PromptSchedule(io.ComfyNode):
    """Text that changes along the video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterPromptSchedule",
            display_name="DynamiCrafter Prompt Schedule",
            search_aliases=["prompt travel", "prompt per frame", "batch prompt schedule"],
            category=f"{CATEGORY}/conditioning",
            description="Changes the prompt along the video: one prompt per segment. Replaces "
            "CLIP Text Encode for the positive, at any length and with context windows.",
            inputs=[
                io.Clip.Input(
                    "clip", tooltip="The checkpoint's, or OpenCLIP ViT-H from Load CLIP."
                ),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    default="0: a boat lies at the shore\n8: the boat sails away",
                    tooltip="One prompt per line. `8: the boat sails away` starts at frame 8; "
                    "negative frames count from the end. Lines without numbers share the video "
                    "evenly.",
                ),
                integer(
                    "length",
                    16,
                    (1, 1024),
                    "Frames; use the same number as in Visual Detail Guidance.",
                ),
                integer(
                    "blend_frames",
                    BLEND_FRAMES,
                    (0, 1024),
                    "Frames over which one prompt fades into the next. 0 = a hard switch.",
                ),
            ],
            outputs=[io.Conditioning.Output(display_name="conditioning")],
        )

    @classmethod
    @checked
    def execute(cls, clip: Clip, prompts: str, length: int, blend_frames: int) -> io.NodeOutput:
        return io.NodeOutput(encode_schedule(clip, prompts, length, blend_frames))


NODES = [PromptSchedule]
