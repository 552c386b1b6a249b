"""ToonCrafter's VAE as a VAE of the host: stock nodes encode, decode and tile with it.

Without reference images it decodes like any VAE; Video Decode hands the two references over.
"""

from collections.abc import Sequence
from typing import Any

import comfy.ldm.models.autoencoder
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import torch
from torch import Tensor

from ...dc_model.checkpoint.detect import CheckpointError
from ...dc_model.checkpoint.layout import StateDict, shapes
from ...dc_model.preprocess import fit_image
from ...dc_model.toon.dual_reference_vae import (
    CHUNK_FRAMES,
    DualReferenceVAE,
    detect_dual_reference_arch,
)
from ..errors import InputError, require_count
from .model import attend

REFINEMENT = "decoder.attn_refinement."

# Memory of a decoded frame over what the host reckons for Stable Diffusion's decoder. Counted from
# live tensors at 512x320 and 1024x576: 0.36 to 0.57; the rest is for the convolutions' workspace.
FRAME_MEMORY_FACTOR = 0.7

# The host's constructor sets what every VAE object has; it wants a network for it, the smaller the
# better, because ours replaces it.
_PLACEHOLDER = {
    "embed_dim": 4,
    "ddconfig": {
        "double_z": True,
        "z_channels": 4,
        "resolution": 8,
        "in_channels": 3,
        "out_ch": 3,
        "ch": 32,
        "ch_mult": [1],
        "num_res_blocks": 1,
        "attn_resolutions": [],
        "dropout": 0.0,
    },
}


def is_dual_reference(state_dict: StateDict) -> bool:
    """Whether a VAE's tensors are those of the dual-reference one."""
    return any(key.startswith(REFINEMENT) for key in state_dict)


class HostDualReferenceVAE(DualReferenceVAE):
    """The network behind the host's calling convention: frames in the batch, one video."""

    def encode(self, images: Tensor) -> Tensor:
        """images: `[N, 3, H, W]` in [-1, 1]. Returns the posterior's mode `[N, 4, h, w]`."""
        return super().encode(images).chunk(2, dim=1)[0]

    def decode(
        self,
        latents: Tensor,
        references: Sequence[Tensor] | None = None,
        chunk_frames: int = CHUNK_FRAMES,
    ) -> Tensor:
        """Also takes the host's batch: `[T, 4, h, w]`, the frames of a clip, to `[T, 3, 8h, 8w]`.

        Five axes are a video with the references of `DualReferenceVAE.decode`.
        """
        if latents.ndim == 5:
            return super().decode(latents, references, chunk_frames)
        video = super().decode(latents.unsqueeze(0).transpose(1, 2))  # [1, 3, T, H, W]
        return video[0].transpose(0, 1)


class ToonVAE(comfy.sd.VAE):
    """VAE whose decoder can look at the first and the last image again (`decode_video`)."""

    first_stage_model: HostDualReferenceVAE

    def __init__(self, state_dict: StateDict):
        """state_dict: without prefix. Raises CheckpointError when it does not fit."""
        placeholder = comfy.ldm.models.autoencoder.AutoencoderKL(**_PLACEHOLDER)
        super().__init__(sd=placeholder.state_dict(), config={"params": _PLACEHOLDER})
        try:
            arch = detect_dual_reference_arch(shapes(state_dict))
        except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
            raise CheckpointError(
                f"The file's VAE has an unknown layout ({error}); choose ToonCrafter's checkpoint."
            ) from error
        # The host's partial loading passes over layers with a layer inside, such as the published
        # `conv_out`: they have to bring their own weights along.
        network = HostDualReferenceVAE(
            arch,
            operations=comfy.ops.manual_cast,
            attention=attend,
            dtype=self.vae_dtype,
        )
        self.first_stage_model = network.eval()
        comfy.model_management.archive_model_dtypes(network)
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            network,
            load_device=self.device,
            offload_device=comfy.model_management.vae_offload_device(),
        )
        missing, unexpected = network.load_state_dict(
            state_dict, strict=False, assign=self.patcher.is_dynamic()
        )
        if missing or unexpected:
            raise CheckpointError(
                f"The file's VAE does not fit ToonCrafter's: {len(missing)} tensors missing, "
                f"{len(unexpected)} unknown (first: {[*missing, *unexpected][0]})."
            )
        self.size = None
        self.model_size()

    def decode_video(
        self, latents: Tensor, first: Tensor, last: Tensor, chunk_frames: int = 0
    ) -> Tensor:
        """Frames `[N, T, H, W, 3]` of videos, with detail from the two reference images.

        latents: `[N, T, 4, h, w]`, unscaled. first, last: images `[1 or N, H', W', C]` in [0, 1],
        brought to the video's size as Visual Detail Guidance's `crop` does. chunk_frames: frames
        decoded at once, 0 = by free memory, at most 16. Frames that do not fit into memory are
        decoded in smaller pieces.
        """
        size = chunk_frames or self._frames_that_fit(latents.shape)
        while True:
            try:
                return self._decode_video(latents, first, last, size)
            except comfy.model_management.OOM_EXCEPTION as error:
                comfy.model_management.raise_non_oom(error)
                if size == 1:
                    raise
                size = (size + 1) // 2
            comfy.model_management.soft_empty_cache()

    def _frames_that_fit(self, shape: Sequence[int]) -> int:
        frames = min(CHUNK_FRAMES, shape[1])
        wanted = self._memory(shape, frames)
        comfy.model_management.load_models_gpu([self.patcher], memory_required=wanted)
        free = self.patcher.get_free_memory(self.device)
        return max(1, min(frames, int(free * frames / wanted)))

    def _memory(self, shape: Sequence[int], frames: int) -> float:
        """Bytes for `frames` frames of latents of this shape."""
        per_frame = self.memory_used_decode((1, *shape[-3:]), self.vae_dtype)
        return per_frame * FRAME_MEMORY_FACTOR * frames

    def _decode_video(self, latents: Tensor, first: Tensor, last: Tensor, size: int) -> Tensor:
        memory = self._memory(latents.shape, size)
        comfy.model_management.load_models_gpu([self.patcher], memory_required=memory)
        height, width = (side * 8 for side in latents.shape[-2:])
        ends = [self._prepared(image, len(latents), height, width) for image in (first, last)]
        videos = []
        for i in range(len(latents)):
            comfy.model_management.throw_exception_if_processing_interrupted()
            references = self.first_stage_model.encode_references(*(end[i : i + 1] for end in ends))
            video = latents[i : i + 1].transpose(1, 2)  # [1, 4, T, h, w]
            video = video.to(device=self.device, dtype=self.vae_dtype)
            frames = self.first_stage_model.decode_published(video, references, size)
            frames = frames.to(device=self.output_device, dtype=self.vae_output_dtype())
            videos.append(self.process_output(frames[0].movedim(0, -1)))  # [T, H, W, 3]
        return torch.stack(videos)

    def _prepared(self, image: Tensor, videos: int, height: int, width: int) -> Tensor:
        require_count(image.shape[0], (1, videos), "reference images", "give 1 or one per video")
        images = image.movedim(-1, 1)  # [K, 3, H', W']
        rgb = fit_image(images, height, width, "crop")  # [K, 3, H, W]
        rgb = self.process_input(rgb).to(device=self.device, dtype=self.vae_dtype)
        return rgb.expand(videos, -1, -1, -1)


def require_dual_reference(vae: Any) -> ToonVAE:
    """The VAE, or InputError when its decoder takes no reference images."""
    if not isinstance(vae, ToonVAE):
        raise InputError(
            "first_image and last_image are for ToonCrafter's decoder, but this VAE is another: "
            "connect the VAE of a ToonCrafter checkpoint, or disconnect the two images."
        )
    return vae
