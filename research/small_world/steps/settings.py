"""Ways to sample with fewer steps, each as nodes of a prompt."""

from dataclasses import dataclass
from typing import Any

from scripts.comfyui.workflow_settings import Prompt

SAMPLER = "DynamiCrafterSampler"
DDIM = "ddim"


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to sample.

    sampler: "ddim" is ours, other names are of ComfyUI's KSamplerSelect. scheduler: None is our
    grid, other names are of BasicScheduler. eta: of our DDIM. cache: "EasyCache" or "LazyCache" at
    its defaults. guided: where guidance acts, as shares of the run; elsewhere one pass of the U-Net
    is enough.
    """

    steps: int
    sampler: str = DDIM
    scheduler: str | None = None
    eta: float = 0.0
    cache: str | None = None
    guided: tuple[float, float] = (0.0, 1.0)

    @property
    def name(self) -> str:
        """For people, and with other characters for files."""
        sampler = f"DDIM, eta {self.eta:g}" if self.sampler == DDIM else f"`{self.sampler}`"
        extras = [f"`{self.scheduler}`"] if self.scheduler else []
        extras += [self.cache] if self.cache else []
        if self.guided != (0.0, 1.0):
            extras.append("guided from {:.0%} to {:.0%}".format(*self.guided).replace("%", " %"))
        return ", ".join([sampler, *extras])

    @property
    def file_name(self) -> str:
        """Letters, digits, dots and hyphens."""
        kept = (c if c.isalnum() or c == "." else "-" for c in self.name.replace("`", ""))
        return f"{self.steps}-{''.join(kept)}"

    @property
    def passes(self) -> int:
        """Of the U-Net, without a cache: two where guidance acts, else one."""
        low, high = self.guided
        share_done = [step / self.steps for step in range(self.steps)]
        return sum(1 + (low <= share < high) for share in share_done)


REFERENCE = Setting(50)
SETTINGS = (
    REFERENCE,
    *(Setting(steps, eta=1.0) for steps in (25, 15, 10, 8)),
    *(Setting(steps) for steps in (25, 20, 15, 10, 8)),
    *(Setting(steps, "dpmpp_2m") for steps in (15, 10, 8)),
    *(Setting(steps, "uni_pc") for steps in (15, 10, 8)),
    *(Setting(steps, "deis") for steps in (15, 10, 8)),
    Setting(10, "ipndm"),
    Setting(10, "euler", "beta"),
    *(Setting(steps, "dpmpp_2m", "beta") for steps in (15, 10, 8)),
    *(Setting(steps, "deis", "beta") for steps in (10, 8)),
    *(Setting(steps, cache="EasyCache") for steps in (50, 25)),
    Setting(25, cache="LazyCache"),
    Setting(25, guided=(0.0, 0.5)),
    Setting(25, guided=(0.19, 0.71)),
)


def put(prompt: Prompt, setting: Setting, cfg: float, seed: int) -> str:
    """Samples the prompt's video this way instead; returns the sampling node's id.

    Guidance and noise are the same in every setting.
    """
    (key,) = (key for key, node in prompt.items() if node["class_type"] == SAMPLER)
    given = prompt[key]["inputs"]
    model = given["model"]
    if setting.cache:
        model = _add(prompt, "cache", setting.cache, model=model, **_CACHE)
    low, high = setting.guided
    for name, start, end in (("before", 0.0, low), ("after", high, 1.0)):
        if start < end:
            span = {"start_percent": start, "end_percent": end}
            model = _add(prompt, name, "CFGOverride", model=model, cfg=1.0, **span)
    streams = {name: given[name] for name in ("positive", "negative")}
    scales = {"cfg": cfg, "image_cfg": cfg, "guidance_rescale": -1.0}
    guider = _add(prompt, "guider", "DynamiCrafterGuider", model=model, **streams, **scales)
    prompt[key] = {
        "class_type": "SamplerCustomAdvanced",
        "inputs": {
            "noise": _add(prompt, "noise", "RandomNoise", noise_seed=seed),
            "guider": guider,
            "sampler": _sampler(prompt, setting),
            "sigmas": _sigmas(prompt, setting, given["model"]),
            "latent_image": given["latent"],
        },
        "_meta": {"title": setting.name},
    }
    return key


_CACHE = {"reuse_threshold": 0.2, "start_percent": 0.15, "end_percent": 0.95, "verbose": False}


def _sampler(prompt: Prompt, setting: Setting) -> list[Any]:
    if setting.sampler == DDIM:
        return _add(prompt, "sampler", "DynamiCrafterDDIM", eta=setting.eta)
    return _add(prompt, "sampler", "KSamplerSelect", sampler_name=setting.sampler)


def _sigmas(prompt: Prompt, setting: Setting, model: list[Any]) -> list[Any]:
    steps: dict[str, Any] = {"model": model, "steps": setting.steps, "denoise": 1.0}
    if setting.scheduler:
        return _add(prompt, "sigmas", "BasicScheduler", scheduler=setting.scheduler, **steps)
    # uni_pc writes into the noise levels that it is given, so it gets some of its own.
    spacing = "uniform_trailing" if setting.sampler == "uni_pc" else "auto"
    grid = {"spacing": spacing, "ending": "clean", "start_timestep": 1000}
    return _add(prompt, "sigmas", "DynamiCrafterScheduler", **steps, **grid)


def _add(prompt: Prompt, key: str, node: str, **inputs: Any) -> list[Any]:
    prompt[key] = {"class_type": node, "inputs": inputs, "_meta": {"title": key}}
    return [key, 0]
