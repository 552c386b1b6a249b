"""ToonCrafter's VAE as a VAE of the host: stock nodes encode, decode and tile with it.

The decoder works along time, and the host cuts a batch by free memory, and tiles frame by frame:
here a clip stays whole, whoever asks. Video Decode hands the two reference images over.
"""

import logging
from typing import Any

import comfy.ldm.models.autoencoder
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.utils
import torch
from torch import Tensor

from ...dc_model.checkpoint.errors import CheckpointError
from ...dc_model.checkpoint.layout import StateDict, shapes
from ...dc_model.shown import shown
from ...dc_model.toon.dual_reference_vae import (
    CHUNK_FRAMES,
    DualReferenceVAE,
    detect_dual_reference_arch,
)
from ..checks import InputError, require_count
from .model import attend
from .pictures import fit_pictures
from .protocols import VAE

log = logging.getLogger(__name__)

# Memory of a decoded frame over the host's estimate for Stable Diffusion's decoder. Counted from
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


class HostDualReferenceVAE(DualReferenceVAE):
    """The network as the host calls it."""

    def encode(self, images: Tensor) -> Tensor:
        """images: `[N, 3, H, W]` in [-1, 1]. Returns the posterior's mode `[N, 4, h, w]`."""
        return super().encode(images).chunk(2, dim=1)[0]


class ToonVAE(comfy.sd.VAE):
    """VAE that decodes clips, and can look at the first and the last image again."""

    first_stage_model: HostDualReferenceVAE

    def __init__(self, state_dict: StateDict):
        """state_dict: without prefix. Raises CheckpointError when it does not fit."""
        placeholder = comfy.ldm.models.autoencoder.AutoencoderKL(**_PLACEHOLDER)
        super().__init__(sd=placeholder.state_dict(), config={"params": _PLACEHOLDER})
        try:
            arch = detect_dual_reference_arch(shapes(state_dict))
        except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
            raise CheckpointError(
                f"The file's VAE has an unknown layout ({shown(error)}); choose ToonCrafter's "
                "checkpoint."
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
                f"{len(unexpected)} unknown (first: {shown([*missing, *unexpected][0])}); download "
                "the checkpoint again."
            )
        self.size = None
        self.model_size()

    def decode(self, samples_in: Tensor, vae_options: Any = None) -> Tensor:
        """For stock nodes: latents `[T, 4, h, w]` are the frames of one clip `[T, H, W, 3]`.

        Latents `[N, 4, T, h, w]` are clips `[N, T, H, W, 3]`.
        """
        del vae_options
        if samples_in.ndim == 5:
            return self.decode_video(samples_in.transpose(1, 2))
        _say_one_clip(len(samples_in))
        return self.decode_video(samples_in[None])[0]

    def decode_tiled(
        self,
        samples: Tensor,
        tile_x: int | None = None,
        tile_y: int | None = None,
        overlap: int | None = None,
        tile_t: int | None = None,
        overlap_t: int | None = None,
    ) -> Tensor:
        """A clip `[T, H, W, 3]` of latents `[T, 4, h, w]` in tiles, each with all of its frames.

        tile_x, tile_y, overlap: in latents. A clip is not cut in time, which would save nothing.
        """
        del tile_t, overlap_t
        _say_one_clip(len(samples))

        def decode_tile(tile: Tensor) -> Tensor:
            frames = self._decode_clip(tile.unflatten(1, (-1, 4)).transpose(1, 2), None, 0)
            return frames.transpose(1, 2).flatten(1, 2)

        tiles = comfy.utils.tiled_scale(
            samples.flatten(0, 1)[None],  # [1, T*4, h, w]
            decode_tile,
            tile_x or 64,
            tile_y or 64,
            16 if overlap is None else overlap,
            upscale_amount=8,
            out_channels=3 * len(samples),
            output_device=self.output_device,
        )
        return self.process_output(tiles[0].unflatten(0, (-1, 3)).movedim(1, -1))

    def decode_video(
        self,
        latents: Tensor,
        first: Tensor | None = None,
        last: Tensor | None = None,
        chunk_frames: int = 0,
    ) -> Tensor:
        """Frames `[N, T, H, W, 3]` of videos, with detail from two reference images or without.

        latents: `[N, T, 4, h, w]`, unscaled. first, last: both or none, images
        `[1 or N, H', W', C]` in [0, 1], brought to the video's size as Visual Detail Guidance's
        `crop` does. chunk_frames: frames computed at once, 0 = by free memory, at most 16; the
        result is the same. What does not fit into memory is computed in smaller pieces.
        """
        size = [side * 8 for side in latents.shape[-2:]]
        images = () if first is None or last is None else (first, last)
        ends = [self._prepared(image, len(latents), *size) for image in images]
        videos = []
        for i, latent in enumerate(latents):
            comfy.model_management.throw_exception_if_processing_interrupted()
            pair = tuple(end[i : i + 1] for end in ends) or None
            frames = self._decode_clip(latent[None].transpose(1, 2), pair, chunk_frames)
            videos.append(self.process_output(frames[0].movedim(0, -1)))  # [T, H, W, 3]
        return torch.stack(videos)

    def _decode_clip(
        self, clip: Tensor, ends: tuple[Tensor, ...] | None, chunk_frames: int
    ) -> Tensor:
        """`[1, 3, T, H, W]` of latents `[1, 4, T, h, w]`; ends: two images `[1, 3, H, W]`."""
        clip = clip.to(device=self.device, dtype=self.vae_dtype)
        size, parking = self._plan(clip, chunk_frames)
        while True:
            try:
                frames = self._run(clip, ends, size, parking)
                return frames.to(device=self.output_device, dtype=self.vae_output_dtype())
            except comfy.model_management.OOM_EXCEPTION as error:
                comfy.model_management.raise_non_oom(error)
                if size == 1 and parking == self._main_memory():
                    raise
                size, parking = (min(size, clip.shape[2]) + 1) // 2, self._main_memory()
            comfy.model_management.soft_empty_cache()

    def _run(
        self,
        clip: Tensor,
        ends: tuple[Tensor, ...] | None,
        size: int,
        parking: torch.device | None,
    ) -> Tensor:
        network = self.first_stage_model
        options = {} if parking is None else {"parking": parking}
        if ends is None:
            return network.decode(clip, None, size, **options)
        return network.decode_published(clip, network.encode_references(*ends), size, **options)

    def _plan(self, clip: Tensor, chunk_frames: int) -> tuple[int, torch.device | None]:
        """Frames to compute at once, and where the others wait: None = beside them."""
        frames = clip.shape[2]
        size = min(chunk_frames or CHUNK_FRAMES, frames)
        shape = (1, *clip.shape[-3:])
        frame = self.memory_used_decode(shape, self.vae_dtype) * FRAME_MEMORY_FACTOR
        comfy.model_management.load_models_gpu([self.patcher], memory_required=frame * size)
        free = self.patcher.get_free_memory(self.device)
        if size == frames and (chunk_frames or frame * size <= free):
            return size, None
        waiting = frames * self._stored_values * clip[0, 0, 0].numel() * clip.element_size()
        # A piece is computed between a frame of either neighbour.
        beside, aside = (int(room / frame) - 2 for room in (free - waiting, free))
        if chunk_frames:
            return size, None if beside >= size else self._main_memory()
        if beside > 0:
            return min(size, beside), None
        return max(1, min(size, aside)), self._main_memory()

    @property
    def _stored_values(self) -> int:
        """Numbers for each latent of a frame while it waits: two widest feature maps."""
        finest, *coarser = self.first_stage_model.arch.widths
        return 64 * max([2 * finest, *coarser[:1]])

    def _main_memory(self) -> torch.device | None:
        return None if self.device.type == "cpu" else torch.device("cpu")

    def _prepared(self, image: Tensor, videos: int, height: int, width: int) -> Tensor:
        require_count(image.shape[0], (1, videos), "reference images", "give 1 or one per video")
        images = image.movedim(-1, 1)  # [K, 3, H', W']
        rgb = fit_pictures(images, height, width, "crop")  # [K, 3, H, W]
        rgb = self.process_input(rgb).to(device=self.device, dtype=self.vae_dtype)
        return rgb.expand(videos, -1, -1, -1)


def _say_one_clip(rows: int) -> None:
    """Stock nodes pass the latents alone, without the number of frames."""
    if rows > CHUNK_FRAMES:
        log.info(
            "ToonCrafter's VAE takes these %d latents for one clip; Video Decode keeps several "
            "videos apart.",
            rows,
        )


def require_dual_reference(vae: VAE) -> ToonVAE:
    """The VAE, or InputError when its decoder takes no reference images."""
    if not isinstance(vae, ToonVAE):
        raise InputError(
            "first_image and last_image are for ToonCrafter's decoder, but this VAE is another: "
            "connect the VAE of a ToonCrafter checkpoint, or disconnect the two images."
        )
    return vae
