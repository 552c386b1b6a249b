"""The workflow with a fifth of the steps. Its settings are those of docs/speed.md#fewer-steps."""

from shipped import files, parts
from shipped.layout import Group
from shipped.sheet import Sheet

STEPS, SAMPLER, SCHEDULER = 10, "deis", "beta"


def fast(sheet: Sheet) -> list[Group]:
    """A stock multistep sampler on noise levels that are close at both ends."""
    readme = parts.note(
        sheet,
        f"Animates one image in {STEPS} steps in place of 50, a fifth of the time: a sampler that "
        "remembers its last step, on the noise levels of `beta`.",
        [files.DC_512, files.DC_1024],
        [
            f"*steps* {STEPS + 5} where outlines break or the motion looks coarse; 8 for a look "
            "at many seeds.",
            "No fresh noise is added, so the same seed with more steps is the same video, finer.",
            "The published look, with fresh noise in each step: *Animate an image*.",
            "Colours too strong: a lower *cfg*.",
        ],
    )
    begun = parts.plain(sheet, files.DC_512, readme)
    model = begun.model
    guided = parts.detail(sheet, model, begun.streams, begun.image)
    guider = sheet.add(
        "DynamiCrafterGuider",
        model=model["model"],
        positive=guided["positive"],
        negative=guided["negative"],
    )
    noise = sheet.add("RandomNoise", noise_seed=123)
    sigmas = sheet.add(
        "BasicScheduler", model=model["model"], scheduler=SCHEDULER, steps=STEPS, denoise=1.0
    )
    sampler = sheet.add("KSamplerSelect", sampler_name=SAMPLER)
    sampled = sheet.add(
        "SamplerCustomAdvanced",
        noise=noise["NOISE"],
        guider=guider["GUIDER"],
        sampler=sampler["SAMPLER"],
        sigmas=sigmas["SIGMAS"],
        latent_image=guided["latent"],
    )
    return [
        *begun.groups(),
        Group("What it looks like", "detail", [[guided]]),
        Group("Sample in few steps", "sample", [[guider], [noise, sigmas, sampler], [sampled]]),
        parts.ending(sheet, model["vae"], sampled["output"], "fast"),
    ]
