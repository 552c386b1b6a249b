"""DynamiCrafter as a native MODEL: config, sampling, network and conditions for ComfyUI.

How it fits in: docs/comfyui.md. Latents on the wire are `[N*T, 4, h, w]`, frame fastest; the
network sees `[N, C, T, h, w]`, C 8 with visual detail guidance, else 4.
"""

from collections.abc import Iterable
from typing import Any, ClassVar, TypeAlias

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.model_sampling
import comfy.patcher_extension
import comfy.supported_models
import comfy.supported_models_base
import comfy.utils
import torch
from comfy.ldm.modules import attention as host_attention
from torch import Tensor

from ...dc_model.checkpoint.layout import PROJECTOR_PREFIX, VARIANT_BUFFER, encode_variant
from ...dc_model.frames import fold_frames, unfold_frames
from ...dc_model.sampling.schedule import NoiseSchedule
from ...dc_model.unet.ops import Operations
from ...dc_model.unet.patches import Control
from ...dc_model.unet.unet import DynamiCrafterUNet, FrameTokens
from ...dc_model.variants import UNetArch, Variant
from ..checks import (
    InputError,
    require_image_latents,
    require_rows,
    require_text_width,
    require_tokens,
)
from . import keys
from .branches import SharedInput, may_share, sees_branches
from .conds import PerVideo, PerVideoText, PerVideoTokens
from .foreign_nodes import (
    SaysWhatItIs,
    refuse_boxes,
    refuse_call,
    refuse_flow,
    refuse_patches,
)
from .latents import stated_frames
from .protocols import Conditioning, Options, Patcher, Values, Window
from .windows import resize_for_window

Tensors: TypeAlias = dict[str, Tensor]
# The network's arguments by name, as the host batches and slices them.
Conditions: TypeAlias = dict[str, comfy.conds.CONDRegular]

# What an image-to-video model needs in every conditioning, and the node that puts it there.
_SOURCES = {
    keys.CONCAT_LATENT: ("an image", "Visual Detail Guidance"),
    keys.IMAGE_CONTEXT: ("image context", "Query-Transformer Projection"),
}


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: Values) -> Tensor:
    """The host's current attention; fp32 scores where its back end offers the choice."""
    return host_attention.optimized_attention(
        q, k, v, heads, attn_precision=torch.float32, transformer_options=transformer_options
    )


class HostUNet(SaysWhatItIs, DynamiCrafterUNet):
    """The U-Net as the host calls it: frames in the batch, wrappers around it."""

    def __init__(
        self,
        *,
        arch: UNetArch,
        operations: Operations,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
        **_: object,
    ):
        super().__init__(arch, operations=operations, attention=attend, dtype=dtype, device=device)
        # What the host's own U-Net says of itself, for nodes that look (RenormCFG does).
        self.in_channels, self.out_channels = arch.in_channels, arch.out_channels
        self.model_channels, self.channel_mult = arch.model_channels, list(arch.channel_mult)
        self.num_res_blocks = [arch.num_res_blocks] * len(arch.channel_mult)
        self.num_heads, self.num_head_channels = -1, arch.head_dim
        self.num_classes = None

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        x: Tensor,
        timesteps: Tensor | None = None,
        context: Tensor | None = None,
        control: Control | None = None,
        transformer_options: Options | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """x: `[N*T, C, h, w]`; timesteps: `[N*T]`. Returns `[N*T, 4, h, w]`.

        InputError when a node calls it as another kind of network.
        """
        if timesteps is None or context is None:
            refuse_call()
        options = {} if transformer_options is None else transformer_options
        executor = comfy.patcher_extension.WrapperExecutor.new_class_executor(
            self._forward_frames,
            self,
            comfy.patcher_extension.get_all_wrappers(
                comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, options
            ),
        )
        return executor.execute(x, timesteps, context, control, options, **kwargs)

    def _forward_frames(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        control: Control | None,
        transformer_options: Options,
        *,
        num_video_frames: int,
        image_context: Tensor | None = None,
        speed: Tensor | None = None,
        frame_tokens: FrameTokens = "auto",
        branches: int = 1,
        **_: object,
    ) -> Tensor:
        video = unfold_frames(x, num_video_frames)  # [N, C, T, h, w]
        if branches > 1 and control is None and not sees_branches(transformer_options):
            video = video[: len(video) // branches]
        out = super().forward(
            video,
            timesteps.reshape(-1, num_video_frames)[:, 0],  # [N]
            context,
            image_context,
            speed,
            frame_tokens=frame_tokens,
            control=control,
            transformer_options=transformer_options,
        )
        return fold_frames(out)


class DynamiCrafterSampling(
    SaysWhatItIs, comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.EPS
):
    """The host's noise levels over our schedule: dynamic rescale is part of sigma.

    With `sigma = sqrt(1 - a) / (sqrt(a) * s)` the rescaled process is an ordinary one: every
    stock sampler and scheduler works (docs/method.md#two-state-spaces).
    """

    def __init__(self, model_config: "DynamiCrafterConfig", zsnr: bool | None = None):
        del zsnr  # part of the schedule; stock nodes that rebuild a sampling pass it
        super().__init__(None)
        self.schedule = model_config.schedule
        self.set_sigmas(self.schedule.sigmas.clone())

    def calculate_input(self, sigma: Tensor, noise: Tensor) -> Tensor:
        return self.schedule.model_input(sigma, noise)

    def calculate_denoised(
        self, sigma: Tensor, model_output: Tensor, model_input: Tensor
    ) -> Tensor:
        return self.schedule.denoised(sigma, model_output, model_input)

    def noise_scaling(
        self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False
    ) -> Tensor:
        if max_denoise:  # the network's first input is then the noise itself
            return self.schedule.state_from_model_input(sigma, noise) + latent_image
        return super().noise_scaling(sigma, noise.clone(), latent_image)


class DynamiCrafterConfig(comfy.supported_models_base.BASE):
    """What the host asks a model's config for."""

    latent_format = comfy.latent_formats.SD15
    unet_extra_config: ClassVar[dict[str, Any]] = {}
    # benchmarks/count_memory.py counts 0.77 for any size, length and number of videos; the rest is
    # for the workspaces of convolutions.
    memory_usage_factor = 0.92

    def __init__(
        self, arch: UNetArch, variant_name: str, variant: Variant, schedule: NoiseSchedule
    ):
        levels = [[int(attends)] * arch.num_res_blocks for attends in arch.attention_levels]
        super().__init__(
            {
                "arch": arch,
                # The names that FreeU and the LoRA key map look up.
                "in_channels": arch.in_channels,
                "out_channels": arch.out_channels,
                "model_channels": arch.model_channels,
                "num_res_blocks": [arch.num_res_blocks] * len(arch.channel_mult),
                "channel_mult": list(arch.channel_mult),
                "transformer_depth": [d for level in levels for d in level],
                "transformer_depth_middle": 1,
                "transformer_depth_output": [d for level in levels for d in (*level, level[0])],
                "context_dim": arch.context_dim,
                "num_heads": -1,
                "num_head_channels": arch.head_dim,
                "use_linear_in_transformer": True,
                "adm_in_channels": None,
                "image_size": 32,
                "use_spatial_transformer": True,
                "legacy": False,
            }
        )
        self.variant_name, self.variant, self.schedule = variant_name, variant, schedule
        # For stock nodes that put a ModelSampling of their own in place of ours.
        self.sampling_settings = {"zsnr": variant.zero_terminal_snr}

    def model_type(self, state_dict: Tensors, prefix: str = "") -> comfy.model_base.ModelType:
        del state_dict, prefix
        if self.variant.parameterization == "v":
            return comfy.model_base.ModelType.V_PREDICTION
        return comfy.model_base.ModelType.EPS

    def process_clip_state_dict_for_saving(self, state_dict: Tensors) -> Tensors:
        """The text encoder under its original key names, which our loader reads."""
        return comfy.supported_models.SD20.process_clip_state_dict_for_saving(self, state_dict)  # type: ignore[arg-type]

    def get_model(
        self, state_dict: Tensors, prefix: str = "", device: torch.device | None = None
    ) -> "DynamiCrafterModel":
        return DynamiCrafterModel(self, self.model_type(state_dict, prefix), device=device)


class DynamiCrafterModel(comfy.model_base.BaseModel):
    """The model that the host loads, offloads, patches, samples and saves.

    projector: patcher of the query transformer that came with the file, or None; held beside the
    network (not inside it), where saving a checkpoint finds it.
    """

    def __init__(
        self,
        model_config: DynamiCrafterConfig,
        model_type: comfy.model_base.ModelType,
        device: torch.device | None = None,
    ):
        super().__init__(model_config, model_type, device=device, unet_model=HostUNet)  # type: ignore[arg-type]
        self.model_sampling = DynamiCrafterSampling(model_config)
        self.projector: Patcher | None = None

    @property
    def variant(self) -> Variant:
        return self.model_config.variant

    @property
    def arch(self) -> UNetArch:
        return self.diffusion_model.arch

    def require_conditioning(self, conditioning: Conditioning) -> None:
        """InputError unless a CONDITIONING has all that this model needs, before it is loaded."""
        require_text_width(conditioning, self.arch.context_dim)
        for _, values in conditioning:
            if self.arch.takes_image:
                _given(values, keys.CONCAT_LATENT)
            else:
                _refuse_image(values)
            if self.arch.image_cross_attention:
                _given(values, keys.IMAGE_CONTEXT)

    def extra_conds(self, **kwargs: Any) -> Conditions:
        """The network's arguments from one CONDITIONING entry, for the whole latent batch."""
        noise, device = kwargs["noise"], kwargs["device"]
        require_rows(noise)
        refuse_flow(self.model_sampling)
        refuse_patches(self.current_patcher, noise.shape[0])
        refuse_boxes(kwargs, self.arch.context_dim)
        frames = stated_frames(kwargs, noise.shape[0])
        videos = noise.shape[0] // frames
        out: Conditions = {"num_video_frames": comfy.conds.CONDConstant(frames)}
        self._add_text(out, kwargs, frames, device)
        if self.arch.takes_image:
            concat = self._concat_latents(kwargs, noise)
            out["c_concat"] = comfy.conds.CONDNoiseShape(concat.to(device))
        else:
            _refuse_image(kwargs)
        if self.arch.image_cross_attention:
            tokens = self._image_context(kwargs, videos)
            frame_tokens = kwargs.get(keys.FRAME_TOKENS, "auto")
            out["image_context"] = PerVideoTokens(tokens.to(device), frames, frame_tokens)
            out["frame_tokens"] = comfy.conds.CONDConstant(frame_tokens)
        if self.arch.speed_condition:
            speed = torch.tensor([self._speed(kwargs)], dtype=torch.long, device=device)
            out["speed"] = PerVideo(speed, frames)
        if may_share(self.current_patcher):
            out["branches"] = SharedInput(kwargs.get(keys.CONCAT_LATENT), self._speed(kwargs))
        return out

    def _add_text(self, out: Conditions, kwargs: Values, frames: int, device: torch.device) -> None:
        text = kwargs["cross_attn"].to(device)
        require_text_width([(text,)], self.arch.context_dim)
        rows, videos = text.shape[0], kwargs["noise"].shape[0] // frames
        if kwargs.get(keys.TEXT_PER_FRAME, False) and rows != frames:
            raise InputError(
                f"The prompt schedule has {rows} frames, but the video has {frames}; give both the "
                "same length."
            )
        counts = sorted({1, videos, frames, videos * frames})
        if rows not in counts:
            raise InputError(
                f"A conditioning has {rows} rows of text, but {videos} x {frames} frames are "
                f"sampled; expected {' or '.join(map(str, counts))} (one for all, or one for each "
                "video or frame): set the video's length where the text is made."
            )
        # As many videos as frames: only a prompt schedule has a row for each frame.
        per_video = rows == videos and not kwargs.get(keys.TEXT_PER_FRAME, False)
        if rows == videos * frames or (rows == frames and not per_video):
            per_frame = text
            out["c_crossattn"] = comfy.conds.CONDCrossAttn(text)
        else:
            per_frame = text.repeat_interleave(frames, dim=0)
            out["c_crossattn"] = PerVideoText(text, frames)
        # A ControlNet runs on frames, so it wants a row for each.
        out["crossattn_controlnet"] = comfy.conds.CONDCrossAttn(per_frame)

    def _concat_latents(self, kwargs: Values, noise: Tensor) -> Tensor:
        given = _given(kwargs, keys.CONCAT_LATENT)
        rows, stated = noise.shape[0], kwargs.get(keys.NUM_FRAMES, 0)
        # Some frames that a node picked from a video see the images of its first ones.
        allowed = (1, stated_frames(kwargs, rows), rows, max(rows, stated))
        channels = self.arch.in_channels - self.latent_format.latent_channels
        require_image_latents(given, channels, allowed, rows)
        concat = resize_latents(self.process_latent_in(given), noise)
        return comfy.utils.repeat_to_batch_size(concat, rows)

    def _image_context(self, kwargs: Values, videos: int) -> Tensor:
        tokens = _given(kwargs, keys.IMAGE_CONTEXT)
        require_tokens(tokens)
        if tokens.shape[0] not in (1, videos):
            raise InputError(
                f"The image context is of {tokens.shape[0]} images, but {videos} videos are "
                "sampled; give 1 image or one for each video."
            )
        if tokens.shape[-1] != self.arch.context_dim:
            raise InputError(
                f"The image context has {tokens.shape[-1]} channels, this model needs "
                f"{self.arch.context_dim}; use the projector of the same checkpoint."
            )
        return tokens

    def _speed(self, kwargs: Values) -> int:
        stated = int(kwargs.get(keys.SPEED, 0))
        return stated or self.variant.default_speed(kwargs.get(keys.MODE, "animate"))

    def resize_cond_for_context_window(
        self,
        cond_key: str,
        cond_value: Any,
        window: Window,
        x_in: Tensor,
        device: torch.device,
        retain_index_list: Iterable[int] = (),
    ) -> comfy.conds.CONDRegular | None:
        """Our conditions for one context window, or None for the host's own slicing."""
        return resize_for_window(cond_key, cond_value, window, x_in, device, retain_index_list)

    def state_dict_for_saving(self, *args: Any, **kwargs: Any) -> Tensors:
        """What CheckpointSave writes: also the query transformer, the schedule and the variant."""
        state_dict = super().state_dict_for_saving(*args, **kwargs)
        if self.projector is not None:
            for key, tensor in self.projector.model.state_dict().items():
                state_dict[PROJECTOR_PREFIX + key] = tensor
        schedule = self.model_config.schedule
        state_dict["alphas_cumprod"] = schedule.alphas_cumprod.clone()
        if bool((schedule.scale != 1).any()):
            state_dict["scale_arr"] = schedule.scale.clone()
        state_dict[VARIANT_BUFFER] = encode_variant(self.model_config.variant_name)
        return state_dict


def resize_latents(latents: Tensor, like: Tensor) -> Tensor:
    """Latents `[B, 4, h, w]` at the size of the batch that is sampled, after an upscale."""
    if latents.shape[-2:] == like.shape[-2:]:
        return latents
    height, width = like.shape[-2:]
    return comfy.utils.common_upscale(latents, width, height, "bilinear", "disabled")


def _given(values: Values, key: str) -> Tensor:
    """`values[key]`; InputError names the node to put in where it is missing."""
    if values.get(key) is None:
        lacking, node = _SOURCES[key]
        raise InputError(
            f"A conditioning reaches this image-to-video model without {lacking}; put {node} "
            "between the prompts and the sampler, for positive and negative."
        )
    return values[key]


def _refuse_image(values: Values) -> None:
    """InputError where Visual Detail Guidance leads to a model that would not see its images."""
    if keys.CONCAT_LATENT in values and keys.NUM_FRAMES in values:
        raise InputError(
            "Visual Detail Guidance gives this model images to start from, but the model takes "
            "none (4 input channels): put Empty Video in its place, or choose a DynamiCrafter "
            "checkpoint."
        )
