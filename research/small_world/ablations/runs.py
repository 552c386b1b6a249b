"""Trains the shared base and the arms; whatever is already in the folder is read back."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from dc_model.checkpoint.layout import split_checkpoint
from training.batch import Batch, BatchMaker
from training.conditioning import ConcatMode
from training.data.clip import Clip
from training.encoders import Encoders
from training.files import write_whole
from training.model import VideoModel
from training.saving import load_tensors
from training.stages import IMAGE_ATTENTION_KEYS, Stage
from training.trainer import Trainer

from ..train.chain import StepLog
from ..train.preset import encoders_of, new_model
from ..world.dataset import SmallWorld
from .arms import ARMS, TEXT_TO_IMAGE, TEXT_TO_VIDEO, Plan, settings

State = dict[str, Tensor]
DEMO = Path(__file__).resolve().parents[3] / "assets" / "demo" / "small_world.safetensors"


@dataclass(frozen=True)
class Openings:
    """The first frames of every clip, at the clip's own pace."""

    source: SmallWorld
    num_frames: int

    @property
    def skipped(self) -> int:
        return 0

    def __len__(self) -> int:
        return len(self.source)

    def load(self, index: int, draw: int) -> Clip:
        """The clip number `index`, cut."""
        clip = self.source.load(index, draw)
        return replace(clip, frames=clip.frames[: self.num_frames])


@dataclass
class Runs:
    """A folder and the runs in it. What was encoded is kept there and shared.

    demo: a demo checkpoint, whose encoders serve all runs. The base is its U-Net without the image:
    its context stream is random, its visual detail guidance zero, and it is trained on text
    alone.
    """

    folder: Path
    demo: Path = DEMO
    plan: Plan = field(default_factory=Plan)

    def __post_init__(self) -> None:
        tensors = {k: v.float() for k, v in load_tensors(self.demo).items()}
        self.parts = split_checkpoint(tensors)
        self.encoders: Encoders = encoders_of(self.parts)
        self.encoders.keep = True
        self.encoders.use_disk(self.folder / "encoded", "bf16")
        self.source = Openings(SmallWorld(self.plan.pool, 0), self.plan.num_frames)

    def _new(self, seed: int, *, learnable: bool) -> VideoModel:
        return new_model(seed, self.plan.arch(learnable=learnable), self.plan.projection)

    def base(self) -> State:
        """The text-to-video model."""
        return self._from_demo("base/clips", TEXT_TO_VIDEO, self.plan.base_steps)

    def image_base(self) -> State:
        """The text-to-image model."""
        return self._from_demo("base/images", TEXT_TO_IMAGE, self.plan.image_steps)

    def _from_demo(self, place: str, stage: Stage, steps: int) -> State:
        model = self._new(0, learnable=True)
        load_text_part(model, {f"unet.{k}": v for k, v in self.parts.unet.items()})
        with torch.no_grad():
            # Visual detail guidance starts from nothing, as where an input layer is widened.
            model.get_parameter("unet.input_blocks.0.0.weight")[:, 4:] = 0
        self._train(model, place, stage, steps, 0, "random")
        return model.state_dict()

    def base_model(self) -> VideoModel:
        """The text-to-video model in eval mode."""
        model = self._new(0, learnable=True)
        load_text_part(model, self.base())
        return model.eval()

    def arm(self, name: str, seed: int) -> VideoModel:
        """The arm's model in eval mode.

        The seed sets the start of the context stream, and the order and noise of the training.
        """
        arm = ARMS[name]
        model = self._new(seed, learnable=arm.learnable)
        base = self.base()
        steps = self.plan.arm_steps // len(arm.stages)
        load_text_part(model, base)
        start_image_attention(model)
        for number, stage in enumerate(arm.stages):
            if stage.images_only:
                load_text_part(model, self.image_base())
            self._train(model, f"{name} {seed}/{number}", stage, steps, seed, arm.concat)
            if stage.images_only:
                # The context stream moves from the text-to-image to the text-to-video model.
                load_text_part(model, base)
        return model.eval()

    def _train(
        self,
        model: VideoModel,
        place: str,
        stage: Stage,
        steps: int,
        seed: int,
        concat: ConcatMode,
    ) -> None:
        """Train `model` in place and leave its averaged weights in it."""
        weights = self.folder / place / "model.pt"
        if not weights.exists():
            self._run(model, weights.parent, stage, steps, seed, concat)
            write_whole(weights, lambda path: torch.save(model.state_dict(), path))
        model.load_state_dict(torch.load(weights, weights_only=True))

    def _run(
        self,
        model: VideoModel,
        output: Path,
        stage: Stage,
        steps: int,
        seed: int,
        concat: ConcatMode,
    ) -> None:
        config = settings(self.plan, output, stage, steps, seed, concat)
        kind = BatchMaker if stage.concat else ContextOnlyBatchMaker
        # Every stage draws its condition frame in the arm's way.
        maker = kind.configured(config, self.encoders, replace(stage, concat=True))
        accelerator = Accelerator(mixed_precision=config.run.mixed_precision)
        trainer = Trainer(config, model, self.source, maker, accelerator, on_step=StepLog(100))
        trainer.train()
        assert trainer.ema is not None
        model.load_state_dict(dict(trainer.ema.shadow), strict=False)


class ContextOnlyBatchMaker(BatchMaker):
    """Draws the condition frame as with visual detail guidance, then leaves the latents out."""

    def __call__(self, clips: list[Clip], samples: list[int]) -> Batch:
        return replace(super().__call__(clips, samples), concat=None)


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
