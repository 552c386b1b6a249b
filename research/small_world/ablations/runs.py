"""Trains the shared base and the arms; whatever is already in the folder is read back."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from dc_model.checkpoint.layout import split_checkpoint
from training.batch import Batch, BatchMaker
from training.config import TrainConfig
from training.data.clip import Clip
from training.encoders import Encoders
from training.files import write_whole
from training.model import VideoModel
from training.saving import load_tensors
from training.stages import IMAGE_ATTENTION_KEYS, Stage
from training.trainer import Trainer

from ..train.chain import StepLog
from ..train.preset import UNET, encoders_of, new_model
from .arms import ARMS, TEXT_TO_IMAGE, TEXT_TO_VIDEO, Arm, Plan, settings
from .clips import Clips

# At the common rate a short run could not move the gates, and values that start at zero would lag.
RATE_FACTORS = {"attn2.alpha": 10.0, "to_k_ip.weight": 3.0, "to_v_ip.weight": 3.0}
State = dict[str, Tensor]
# With a gate lambda for each layer, as the 256 model.
GATED = UNET._replace(learnable_image_scale=True)
DEMO = Path(__file__).resolve().parents[3] / "assets" / "demo" / "small_world.safetensors"


@dataclass
class Runs:
    """A folder and the runs in it. What was encoded is kept there and shared.

    demo: a demo checkpoint, whose encoders serve all runs. The base is its U-Net without the image:
    its context stream is random, its visual detail guidance zero, and it is trained on text alone.
    """

    folder: Path
    demo: Path = DEMO
    plan: Plan = field(default_factory=Plan)

    def __post_init__(self) -> None:
        tensors = {k: v.float() for k, v in load_tensors(self.demo).items()}
        self.parts = split_checkpoint(tensors)
        self.encoders: Encoders = encoders_of(self.parts)
        self.encoders.keep = True
        self.encoders.use_disk(self.folder / "encoded", "no")
        self.source = Clips(self.plan.pool, self.plan.num_frames)

    def base(self) -> State:
        """The text-to-video model."""
        return self._of_text("base", TEXT_TO_VIDEO, self.plan.base_steps, self.plan.base_batch)

    def image_base(self) -> State:
        """The text-to-image model, which the first of three stages starts from."""
        plan = self.plan
        return self._of_text("images", TEXT_TO_IMAGE, plan.image_steps, 4 * plan.batch_size)

    def _of_text(self, place: str, stage: Stage, steps: int, batch_size: int) -> State:
        model = self._without_image()
        config = settings(self.plan, self.folder / place, steps, batch_size=batch_size)
        self._train(model, config, BatchMaker.configured(config, self.encoders, stage))
        return model.state_dict()

    def base_model(self) -> VideoModel:
        """The text-to-video model in eval mode."""
        model = self._new(0)
        model.load_state_dict(self.base())
        return model.eval()

    def arm(self, name: str, seed: int) -> VideoModel:
        """The arm's model in eval mode.

        The seed sets the start of the context stream, and the order and noise of the training.
        """
        arm, base = ARMS[name], self.base()
        model = self._new(seed)
        load_text_part(model, base)
        start_image_attention(model)
        for number, (stage, share) in enumerate(arm.stages, 1):
            if stage.images_only:
                load_text_part(model, self.image_base())
            owner = name if number == len(arm.stages) else arm.earlier or name
            config = settings(
                self.plan,
                self.folder / "arms" / f"{owner} {seed}" / str(number),
                round(share * self.plan.arm_steps),
                batch_size=self.plan.batch_size * (4 if stage.images_only else 1),
                seed=seed,
                concat=arm.concat,
                motion_captions=self.plan.motion_captions,
            )
            self._train(model, config, ArmBatchMaker.of(arm, stage, config, self.encoders))
            if stage.images_only:
                # The context stream moves from the text-to-image to the text-to-video model.
                load_text_part(model, base)
        return model.eval()

    def _without_image(self) -> VideoModel:
        """The demo's U-Net with a new context stream and no visual detail guidance."""
        model = self._new(0)
        load_text_part(model, {f"unet.{k}": v for k, v in self.parts.unet.items()})
        with torch.no_grad():
            # As where an input layer is widened.
            model.get_parameter("unet.input_blocks.0.0.weight")[:, 4:] = 0
        return model

    def _new(self, seed: int) -> VideoModel:
        return new_model(seed, GATED, self.plan.projection, FastOnCpu())

    def _train(self, model: VideoModel, config: TrainConfig, maker: BatchMaker) -> None:
        """Train `model` in place and leave its averaged weights in it."""
        weights = Path(config.output) / "model.pt"
        if not weights.exists():
            accelerator = Accelerator(mixed_precision=config.run.mixed_precision)
            trainer = Trainer(
                config,
                model,
                self.source,
                maker,
                accelerator,
                rate_factors=RATE_FACTORS,
                on_step=StepLog(50),
            )
            trainer.train()
            assert trainer.ema is not None
            model.load_state_dict(dict(trainer.ema.shadow), strict=False)
            write_whole(weights, lambda path: torch.save(model.state_dict(), path))
        model.load_state_dict(torch.load(weights, weights_only=True))


class TimeConv(nn.Conv3d):
    """A convolution along time alone, as a 2D one: PyTorch's 3D ones are slow on CPUs."""

    def forward(self, input: Tensor) -> Tensor:
        """`[B, C, T, H, W]` to the same."""
        weight, padding = self.weight[..., 0], (1, 0)  # [C, C, 3, 1]
        out = F.conv2d(input.flatten(3), weight, self.bias, padding=padding)
        return out.unflatten(3, input.shape[3:])


class FastOnCpu:
    """`dc_model.unet.ops.Operations` of `torch.nn`, with the one above."""

    Linear, Conv1d, Conv2d, Conv3d = nn.Linear, nn.Conv1d, nn.Conv2d, TimeConv
    GroupNorm, LayerNorm = nn.GroupNorm, nn.LayerNorm


@dataclass(frozen=True)
class ArmBatchMaker(BatchMaker):
    """Draws everything as for the full method, then leaves out what the arm has not."""

    arm: Arm = field(default_factory=Arm)
    own_stage: Stage = TEXT_TO_VIDEO

    @classmethod
    def of(cls, arm: Arm, stage: Stage, config: TrainConfig, encoders: Encoders) -> "ArmBatchMaker":
        """For one stage of an arm."""
        trained = stage if arm.context else replace(stage, image_tokens=False, projector=False)
        # With VDG the condition frame is drawn, in every stage and arm alike.
        maker = cls.configured(config, encoders, replace(trained, concat=True))
        assert isinstance(maker, cls)
        return replace(maker, arm=arm, own_stage=trained)

    def __call__(self, clips: list[Clip], samples: list[int]) -> Batch:
        batch = super().__call__(clips, samples)
        if self.arm.dose == "none" or not self.own_stage.concat:
            batch = replace(batch, concat=None)
        if not self.arm.text:
            batch = replace(batch, text=self.encoders.text([""] * len(clips)))
        return batch

    def picture_latents(self, clip: Clip, latents: Tensor, generator: torch.Generator) -> Tensor:
        if self.arm.dose != "blurred":
            return latents
        pictures = replace(clip, key=f"{clip.key} blurred", frames=blurred(clip.frames))
        return self.encoders.latents(pictures, generator)


def blurred(frames: Tensor) -> Tensor:
    """Pictures `[N, 3, H, W]` with what 8 x 8 pixels hold: colour and place, no shape."""
    small = F.adaptive_avg_pool2d(frames, 8)
    return F.interpolate(small, size=frames.shape[-2:], mode="bilinear", align_corners=False)


@torch.no_grad()
def start_image_attention(model: VideoModel) -> None:
    """Keys as the text's, values zero: as `training.image_stream` adds an image stream."""
    parameters = dict(model.unet.named_parameters())
    for name, parameter in parameters.items():
        if ".to_k_ip." in name:
            parameter.copy_(parameters[name.replace("to_k_ip", "to_k")])
        elif ".to_v_ip." in name:
            parameter.zero_()


def load_text_part(model: VideoModel, state: State) -> None:
    """Load all of `state` but the context stream: query transformer and image cross-attention."""
    text = {
        k: v
        for k, v in state.items()
        if not k.startswith("projector.") and not any(i in f".{k}." for i in IMAGE_ATTENTION_KEYS)
    }
    model.load_state_dict(text, strict=False)
