"""DynamiCrafter (arXiv 2310.12190) in plain PyTorch.

The flow, and the module of each step::

    image -> CLIP tokens -> projection.Resampler -> image context --+
    image -> VAE latent --> vdg ------------------> concat latents -+-> unet.DynamiCrafterUNet
    text --> CLIP tokens -------------------------------------------+           |
                                                      sampling <----------------+-> latents -> VAE

========================  ======================================  =============================
paper                     here                                    checkpoint
========================  ======================================  =============================
query transformer P       `projection.Resampler`                  `image_proj_model.*`
text-aligned context      `image_context`                         -
dual cross-attention      `unet.attention.DualCrossAttention`     `attn2.to_k_ip`, `attn2.to_v_ip`
gate lambda               `DualCrossAttention.gate`               `attn2.alpha`, lambda = tanh + 1
visual detail guidance    `vdg`                                   input channels 4 to 7
fps / frame stride        `speed`                                 `fps_embedding`
temporal layers           `TemporalTransformer`, `TemporalConv`   `temopral_conv` (so spelled)
dynamic rescale           `NoiseSchedule.scale`                   `scale_arr`
========================  ======================================  =============================

Layers and attention come from outside (`unet.ops`): a host or a trainer passes its own. Tensors are
`[B, C, T, H, W]`. Nothing here knows ComfyUI. The method in formulas is in docs/method.md, every
deviation from the published code in docs/differences.md.

Where to change what:

- the gate lambda, `out = text + gate() * image_strength * image`, and the user's strengths:
  `unet.attention`; the node: `nodes/image_lambda.py`;
- visual detail guidance: `vdg` lays the latents out; `vdg.join` concatenates them to the noise. In
  ComfyUI the host does, from `c_concat` in `nodes/host/model.py`;
- motion that is shown, not described: `motion`; until when a place is held: `motion.clocks`;
- the published sampler: `sampling.ddim`, its grids and noise levels: `sampling.schedule`; the two
  guidance scales: `sampling.guidance`; as ComfyUI runs them: `nodes/sampling.py`, `nodes/host/`;
- prompts over time and their notation: `prompts`;
- FVD, KVD and PIC: `metrics`; of whole systems: `evaluation/`;
- a training configuration: `training/config.py`; against the checkpoint: `training/load.py`;
- defaults of the nodes' inputs: `nodes/inputs.py`;
- a relative of the model, with all that is known of it: `variants`;
- all parts as one, without ComfyUI: `pipeline.load`, `Pipeline.animate`;
- a node: `NODES` in the file of its stage, of which `nodes/__init__.py` gives ComfyUI the list,
  CONTRIBUTING.md#add-a-node;
- how ComfyUI runs the model: `nodes/host/model.py`, where the host loads `DynamiCrafterModel` and
  calls `HostUNet`; the rest of `nodes/host/` for its other parts;
- error texts: of files `checkpoint.errors`, `checkpoint.inspect.KINDS` (no checkpoint at all) and
  `checkpoint.foreign` (another model); of inputs `nodes/checks.py`, and `nodes/door.py`, which
  checks every input by its type and makes the user's `InputError` of `dc_model`'s `ValueError`;
  others where they are raised. Text from outside passes `shown.shown`, which escapes and shortens;
- which variant a file is: `identify`, by `checkpoint.detect`;
- the demo's weights: `assets/demo/`, made by `research/small_world/train/chain.py`.
"""

from .checkpoint.detect import detect_unet_arch, detect_variant
from .checkpoint.errors import CheckpointError
from .checkpoint.layout import CheckpointParts, split_checkpoint
from .projection import Resampler
from .sampling.schedule import NoiseSchedule
from .unet.unet import DynamiCrafterUNet
from .variants import VARIANTS, UNetArch, Variant

__all__ = [
    "VARIANTS",
    "CheckpointError",
    "CheckpointParts",
    "DynamiCrafterUNet",
    "NoiseSchedule",
    "Resampler",
    "UNetArch",
    "Variant",
    "detect_unet_arch",
    "detect_variant",
    "split_checkpoint",
]
