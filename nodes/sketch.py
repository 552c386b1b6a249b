"""ToonCrafter's sketch ControlNet as the host's CONTROL: sketches of some frames guide a video.

Source: docs/method.md#sketch-controlnet.
"""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import comfy.controlnet
import comfy.model_management
import comfy.ops
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import io
from torch import Tensor

from ..dc_model.checkpoint.errors import naming
from ..dc_model.checkpoint.layout import StateDict, require_floating, shapes
from ..dc_model.frames import unfold_frames
from ..dc_model.shown import shown
from ..dc_model.toon.sketch_controlnet import (
    STRENGTH,
    SketchControlNet,
    detect_sketch_control_arch,
    sketch_control,
    sketch_frames,
)
from .checks import InputError
from .door import checked
from .host import keys
from .host.conditionings import Conditionings
from .host.encoders import core_patcher, fitting, load_strictly
from .host.files import read_family_file
from .host.model import DynamiCrafterModel, attend
from .host.pictures import fit_pictures
from .host.protocols import Conditioning, Options, Patcher
from .host.windows import window_indices
from .inputs import CATEGORY, conditioning_outputs, image_only_input, prompt_inputs, real

FOLDER = "controlnet"
PREFIX = "control_model."
# The network was trained on the first chunk of the prompt only.
TEXT_TOKENS = 77


@fitting("sketch ControlNet")
def load_sketch_network(path: str, disable_dynamic: bool = False) -> Patcher:
    """Patcher of the network in a file; CheckpointError when it is not a sketch ControlNet."""
    found = read_family_file(path, check=None).tensors
    tensors: StateDict = {k.removeprefix(PREFIX): v for k, v in found.items()}
    require_floating(tensors, "sketch ControlNet")
    arch = detect_sketch_control_arch(shapes(tensors))
    load_device = comfy.model_management.get_torch_device()
    dtype = comfy.model_management.unet_dtype(
        model_params=comfy.utils.calculate_parameters(tensors),
        weight_dtype=comfy.utils.weight_dtype(tensors),
    )
    with torch.device("meta"):
        network = SketchControlNet(
            arch, operations=comfy.ops.manual_cast, attention=attend, dtype=dtype
        )
    # Where the weights' type cannot compute on this device, the layers cast them.
    network.dtype = comfy.model_management.unet_manual_cast(dtype, load_device) or dtype
    placed = {k: v.to(dtype=dtype, copy=True) for k, v in tensors.items()}
    load_strictly(network, placed, "sketch ControlNet")
    network.requires_grad_(False).eval()
    offload_device = comfy.model_management.unet_offload_device()
    patcher = core_patcher(network, load_device, offload_device, disable_dynamic)
    patcher.cached_patcher_init = (load_sketch_network, (path,))
    return patcher


class SketchControl(comfy.controlnet.ControlBase):
    """Residuals for the frames that have a sketch; the others run free.

    sketches: `[K, 1, H, W]` in [0, 1]. frames: the K frames that they belong to, of a video of
    num_frames.
    """

    def __init__(self, patcher: Patcher, sketches: Tensor, frames: Sequence[int], num_frames: int):
        super().__init__()
        self.patcher = patcher
        self.sketches, self.frames, self.num_frames = sketches, list(frames), num_frames
        self.sampling: Any = None
        # In the video's size; the copies for context windows share it.
        self.fitted: list[Tensor] = []

    @property
    def network(self) -> SketchControlNet:
        return self.patcher.model

    def pre_run(self, model: object, percent_to_timestep_function: object) -> None:
        """Called by the host before the first step."""
        super().pre_run(model, percent_to_timestep_function)
        self.fitted.clear()  # An interrupted run leaves its own.
        channels = self.network.arch.model_channels
        if not isinstance(model, DynamiCrafterModel) or model.arch.model_channels != channels:
            raise InputError(
                f"The sketch ControlNet has {channels} channels and does not fit this model; "
                "use the ToonCrafter checkpoint that it belongs to."
            )
        self.sampling = model.model_sampling

    def get_control(
        self,
        x_noisy: Tensor,
        t: Tensor,
        cond: Options,
        batched_number: int,
        transformer_options: Options,
    ) -> Any:
        """The host's control for `[M*N*T, 4, h, w]`: M conditions, N videos, T frames."""
        before = None
        if self.previous_controlnet is not None:
            before = self.previous_controlnet.get_control(
                x_noisy, t, cond, batched_number, transformer_options
            )
        window = _window(transformer_options, self.num_frames)
        chosen = [(i, window.index(f)) for i, f in enumerate(self.frames) if f in window]
        if not chosen or self._rests(t):
            return before
        sketches, frames = zip(*chosen, strict=True)
        device, dtype = x_noisy.device, self.network.dtype
        timesteps = self.sampling.timestep(t).to(device)
        video = unfold_frames(self.sampling.calculate_input(t, x_noisy), len(window))
        height, width = (side * 8 for side in video.shape[-2:])
        text = cond.get("crossattn_controlnet", cond["c_crossattn"])[:, :TEXT_TOKENS]
        control = sketch_control(
            self.network,
            video.to(dtype),
            timesteps.reshape(-1, len(window))[:, 0],  # [M*N]
            text.to(device=device, dtype=dtype),
            self._hints(height, width, device, dtype)[list(sketches)],
            frames,
            strength=1.0,
        )
        return self.control_merge(control, before, output_dtype=x_noisy.dtype)

    def _hints(self, height: int, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        """All sketches in the video's size; computed once per sampling."""
        for hints in self.fitted:
            if tuple(hints.shape[-2:]) == (height, width) and hints.device == device:
                return hints
        hints = fit_pictures(self.sketches, height, width, "crop").to(device, dtype)
        self.fitted[:] = [hints]
        return hints

    def _rests(self, t: Tensor) -> bool:
        """Whether the noise level `t` lies outside the steps that the control is for."""
        if self.timestep_range is None:
            return False
        start, end = self.timestep_range
        return bool(t[0] > start or t[0] < end)

    def copy(self) -> "SketchControl":
        """The same network and sketches, without a control before them."""
        clone = SketchControl(self.patcher, self.sketches, self.frames, self.num_frames)
        self.copy_to(clone)
        return clone

    def deepclone_multigpu(
        self, load_device: torch.device, autoregister: bool = False
    ) -> "SketchControl":
        """A copy whose network runs on another device."""
        clone = self.copy()
        offload_device = comfy.model_management.unet_offload_device()
        network = copy.deepcopy(self.network)
        clone.patcher = core_patcher(network, load_device, offload_device, disable_dynamic=True)
        if autoregister:
            self.multigpu_clones[load_device] = clone
        return clone

    def get_models(self) -> list[Patcher]:
        """Patchers that the host loads for sampling."""
        return [*super().get_models(), self.patcher]

    def cleanup(self) -> None:
        """Called by the host after sampling."""
        self.sampling = None
        self.fitted.clear()
        super().cleanup()


def _window(transformer_options: Options, num_frames: int) -> list[int]:
    """The video's frames that the network sees now, in order."""
    window = transformer_options.get("context_window")
    return list(range(num_frames)) if window is None else window_indices(window)


def video_length(conditioning: Conditioning) -> int:
    """Frames of the video that a conditioning is for; InputError before they are known."""
    for _, values in conditioning:
        if keys.NUM_FRAMES in values:
            return int(values[keys.NUM_FRAMES])
    raise InputError(
        "The conditioning does not know the video's length yet; put this node after Visual "
        "Detail Guidance."
    )


def parse_frames(text: str, sketches: int, num_frames: int) -> list[int]:
    """Frame of each sketch; InputError when they do not fit. Empty text = one for every frame."""
    if not text.strip():
        if sketches != num_frames:
            raise InputError(
                f"There are {sketches} sketches for {num_frames} frames; name the frame of each "
                "in `frames`, for example 0, 8, -1."
            )
        return list(range(num_frames))
    try:
        named = [int(part) for part in text.split(",")]
        return sketch_frames(named, sketches, num_frames)
    except ValueError as error:
        raise InputError(
            f"frames is '{shown(text)}': {shown(error, 300)} Give a frame number for each "
            "sketch, separated by commas."
        ) from error


class SketchControlNode(io.ComfyNode):
    """Adds sketches of some frames to the conditionings."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        percent = {"min": 0.0, "max": 1.0, "step": 0.001}
        return io.Schema(
            node_id="DynamiCrafterSketchControl",
            display_name="Sketch Control (ToonCrafter)",
            search_aliases=["sketch guidance", "line art", "lineart", "controlnet"],
            category=f"{CATEGORY}/conditioning",
            description="Steers the motion with line drawings of some or all frames, by "
            "ToonCrafter's sketch ControlNet. Goes between Visual Detail Guidance and the "
            "sampler.",
            inputs=[
                *prompt_inputs(),
                io.Combo.Input(
                    "control_net_name",
                    options=folder_paths.get_filename_list(FOLDER),
                    tooltip="ToonCrafter's sketch_encoder, in models/controlnet.",
                ),
                io.Image.Input(
                    "sketches",
                    tooltip="A batch of line drawings, white on black, one for each frame named "
                    "below. Resized to fill the video; the rest is cut off.",
                ),
                io.String.Input(
                    "frames",
                    default="",
                    tooltip="The frame of each sketch, comma-separated: 0, 8, -1. 0 is the first, "
                    "-1 the last. Empty = one sketch for every frame.",
                ),
                real(
                    "strength",
                    STRENGTH,
                    (0.0, 10.0),
                    "How closely the frames follow their sketches. 0 = not at all; published: 0.6.",
                    step=0.01,
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    tooltip="When the control begins, as a share of the steps: 0 = at the first "
                    "step.",
                    **percent,
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    tooltip="When the control ends, as a share of the steps: 1 = after the last "
                    "step.",
                    **percent,
                ),
                image_only_input(),
            ],
            outputs=conditioning_outputs(),
        )

    @classmethod
    @checked
    def execute(
        cls,
        positive: Conditioning,
        negative: Conditioning,
        control_net_name: str,
        sketches: Tensor,
        frames: str,
        strength: float,
        start_percent: float,
        end_percent: float,
        image_only: Conditioning | None = None,
    ) -> io.NodeOutput:
        conditionings = Conditionings(positive, negative, image_only)
        sketched = Sketches(sketches, frames, strength, start_percent, end_percent)
        path = folder_paths.get_full_path_or_raise(FOLDER, control_net_name)
        return io.NodeOutput(*add_sketches(conditionings, path, sketched))


class Sketches(NamedTuple):
    """Line drawings `[K, H, W, 3]`, their frames as text, and how strongly and when they steer."""

    images: Tensor
    frames: str = ""
    strength: float = STRENGTH
    start_percent: float = 0.0
    end_percent: float = 1.0


def add_sketches(conditionings: Conditionings, path: str, sketches: Sketches) -> Conditionings:
    """The conditionings with the control of the network in a file.

    Raises InputError when frames or prompts do not fit, CheckpointError when the file does not.
    """
    length = video_length(conditionings.positive)
    numbers = parse_frames(sketches.frames, sketches.images.shape[0], length)
    with naming(path):
        patcher = load_sketch_network(path)
    _check_text(conditionings.positive, patcher.model)
    grey = sketches.images.mean(dim=-1).unsqueeze(1)  # [K, 1, H, W]
    control = SketchControl(patcher, grey, numbers, length)
    control.set_cond_hint(None, sketches.strength, (sketches.start_percent, sketches.end_percent))
    return _controlled(conditionings, control)


def _check_text(conditioning: Conditioning, network: SketchControlNet) -> None:
    width, expected = conditioning[0][0].shape[-1], network.arch.context_dim
    if width != expected:
        raise InputError(
            f"The prompts have {width} channels, this sketch ControlNet needs {expected}; use the "
            "CLIP of the ToonCrafter checkpoint that it belongs to."
        )


def _controlled(conditionings: Conditionings, control: SketchControl) -> Conditionings:
    """Each conditioning with `control` after the controls that it has; None stays None.

    Entries that had the same control share one: the host can then batch them.
    """
    chained: dict[object, SketchControl] = {}
    results = []
    for conditioning in conditionings:
        entries = []
        for text, values in conditioning or ():
            before = values.get("control")
            if before not in chained:
                chained[before] = control.copy()
                chained[before].set_previous_controlnet(before)
            added = {"control": chained[before], "control_apply_to_uncond": False}
            entries.append([text, {**values, **added}])
        results.append(None if conditioning is None else entries)
    return Conditionings(*results)


NODES = [SketchControlNode]
