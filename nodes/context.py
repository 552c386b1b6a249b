"""Text-aligned context: CLIP image tokens, and the query transformer's projection of them.

Source: docs/method.md#context-stream.
"""

import comfy.clip_vision
import comfy.model_management
import torch
from comfy_api.latest import io
from torch import Tensor

from ..dc_model.preprocess import CLIP_SIZE, Fit, clip_normalise
from .checks import CONTEXT, REMEDIES, InputError, require_finite, require_text_width
from .door import checked
from .host import keys
from .host.conditionings import Conditionings, with_values
from .host.pictures import squash_pictures
from .host.protocols import ClipVision, ClipVisionOutput, Conditioning, Patcher
from .inputs import CATEGORY, Projector, conditioning_outputs


def encode_context(
    clip_vision: ClipVision, image: Tensor, fit: Fit = "stretch"
) -> tuple[ClipVisionOutput, ClipVisionOutput]:
    """CLIP_VISION_OUTPUTs of images `[B, H, W, 3]` and of the grey one that stands for no image.

    InputError when the encoder takes images of another size than CLIP-ViT-H does.
    """
    require_image_size(clip_vision)
    rgb = image.movedim(-1, 1)  # [B, 3, H, W]
    pixels = clip_normalise(squash_pictures(rgb, fit) * 2 - 1)
    grey = clip_normalise(torch.zeros(1, *pixels.shape[1:]))
    return encode_images(clip_vision, pixels), encode_images(clip_vision, grey)


def add_context(
    positive: Conditioning,
    negative: Conditioning,
    projector: Patcher,
    clip_vision_output: ClipVisionOutput,
    null_clip_vision_output: ClipVisionOutput,
    frame_tokens: str = "auto",
) -> Conditionings:
    """The prompts with the image's context; the negative gets that of no image.

    InputError when the text encoder or the image encoder is another model's.
    """
    for conditioning in (positive, negative):
        require_text_width(conditioning, projector.model.arch.output_dim)
    image, null = (
        {keys.IMAGE_CONTEXT: project(projector, output), keys.FRAME_TOKENS: frame_tokens}
        for output in (clip_vision_output, null_clip_vision_output)
    )
    return Conditionings(
        with_values(positive, image), with_values(negative, null), with_values(negative, image)
    )


def encode_images(clip_vision: ClipVision, pixels: Tensor) -> ClipVisionOutput:
    """CLIP_VISION_OUTPUT of preprocessed images `[B, 3, 224, 224]`.

    The host's own `encode_image` rounds to 8 bits and resizes differently from the published code.
    """
    comfy.model_management.load_model_gpu(clip_vision.patcher)
    last, penultimate, embeds, _ = clip_vision.model(
        pixel_values=pixels.to(clip_vision.load_device), intermediate_output=-2
    )
    device = comfy.model_management.intermediate_device()
    output = comfy.clip_vision.Output()
    output["last_hidden_state"] = last.to(device)
    output["penultimate_hidden_states"] = penultimate.to(device)
    output["image_embeds"] = embeds.to(device)
    output["image_sizes"] = [pixels.shape[1:]] * pixels.shape[0]
    output["mm_projected"] = None
    return output


def project(projector: Patcher, clip_vision_output: ClipVisionOutput) -> Tensor:
    """Image context `[B, M, C]` of a CLIP_VISION_OUTPUT; InputError when the encoder is another."""
    model = projector.model
    tokens = clip_vision_output["last_hidden_state"]
    if tokens.shape[-1] != model.arch.embedding_dim:
        raise InputError(
            f"The image encoder gives {tokens.shape[1]} x {tokens.shape[-1]} tokens, this "
            f"checkpoint's query transformer needs {model.arch.embedding_dim} channels: use the "
            f"checkpoint's own CLIP_VISION, or {REMEDIES['CLIP_VISION']}."
        )
    comfy.model_management.load_model_gpu(projector)
    with torch.no_grad():
        context = model(tokens.to(device=projector.load_device, dtype=torch.float32))
    require_finite(context, "The image's context", CONTEXT)
    return context.to(comfy.model_management.intermediate_device())


def require_image_size(clip_vision: ClipVision) -> None:
    """InputError when the encoder takes images of another size than CLIP-ViT-H does."""
    if clip_vision.image_size != CLIP_SIZE:
        raise InputError(
            f"The image encoder takes images of {clip_vision.image_size} pixels, this model's "
            f"takes {CLIP_SIZE}: connect the CLIP_VISION of its checkpoint, or "
            f"{REMEDIES['CLIP_VISION']}."
        )


class ContextEncode(io.ComfyNode):
    """CLIP tokens of the image, and of the grey image that stands for no image."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterContextEncode",
            display_name="CLIP-Vision Context Encode",
            search_aliases=["clip vision encode", "image embedding", "dynamicrafter"],
            category=f"{CATEGORY}/conditioning",
            description="Shows the image to CLIP as published: the whole picture, squashed to 224 "
            "x 224, all 257 tokens. The second output encodes a mid-grey image, for the negative.",
            inputs=[
                io.ClipVision.Input(
                    "clip_vision", tooltip="The checkpoint's, or CLIP-ViT-H from Load CLIP Vision."
                ),
                io.Image.Input(
                    "image",
                    tooltip="One image, or one for each video of the batch. Use the original, not "
                    "a cropped copy.",
                ),
                io.Combo.Input(
                    "fit",
                    options=["stretch", "crop", "pad"],
                    default="stretch",
                    tooltip="How the image becomes square. stretch squashes it, as published; "
                    "crop cuts off the edges; pad adds black bars.",
                ),
            ],
            outputs=[
                io.ClipVisionOutput.Output(display_name="clip_vision_output"),
                io.ClipVisionOutput.Output(display_name="null_clip_vision_output"),
            ],
        )

    @classmethod
    @checked
    def execute(cls, clip_vision: ClipVision, image: Tensor, fit: Fit) -> io.NodeOutput:
        return io.NodeOutput(*encode_context(clip_vision, image, fit))


class ContextProjection(io.ComfyNode):
    """Puts the image's context beside the text's."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DynamiCrafterContextProjection",
            display_name="Query-Transformer Projection",
            search_aliases=["image projection", "resampler", "dynamicrafter"],
            category=f"{CATEGORY}/conditioning",
            description="Adds what the image is about to the prompts: turns its CLIP tokens into "
            "context beside the text. image_only combines the negative prompt with the image, for "
            "two-scale guidance.",
            inputs=[
                io.Conditioning.Input(
                    "positive", tooltip="The prompt: what should happen in the video."
                ),
                io.Conditioning.Input(
                    "negative", tooltip="What to avoid. Published: an empty prompt."
                ),
                Projector.Input("projector", tooltip="The checkpoint's query transformer."),
                io.ClipVisionOutput.Input(
                    "clip_vision_output",
                    tooltip="The image's tokens, from CLIP-Vision Context Encode.",
                ),
                io.ClipVisionOutput.Input(
                    "null_clip_vision_output",
                    tooltip="Tokens of the grey image, from CLIP-Vision Context Encode; used for "
                    "the negative.",
                ),
                io.Combo.Input(
                    "frame_tokens",
                    options=["auto", "shared", "resample"],
                    default="auto",
                    tooltip="Which image tokens each frame sees. auto: 16 of its own at the "
                    "trained length, otherwise all of them, as published. shared: always all. "
                    "resample: 16 of its own at any length, by interpolation.",
                ),
            ],
            outputs=conditioning_outputs(),
        )

    @classmethod
    @checked
    def execute(
        cls,
        positive: Conditioning,
        negative: Conditioning,
        projector: Patcher,
        clip_vision_output: ClipVisionOutput,
        null_clip_vision_output: ClipVisionOutput,
        frame_tokens: str,
    ) -> io.NodeOutput:
        outputs = (clip_vision_output, null_clip_vision_output)
        return io.NodeOutput(*add_context(positive, negative, projector, *outputs, frame_tokens))


NODES = [ContextEncode, ContextProjection]
