"""Our chain of nodes in place of each node of another pack that makes a video."""

from dataclasses import dataclass
from typing import Any

from converter import sources
from converter.graph import Graph, Link, Node
from converter.packs import FOREIGN, NO_MASK, Role
from converter.work import Work

# Schedulers of ComfyUI that reach no model with a last timestep without signal.
UNSUITABLE = ("karras", "exponential", "kl_optimal")
# Stock nodes that set what our model has: the schedule and, in our sampler, the rescale.
OWN = ("RescaleCFG", "ModelSamplingDiscrete")
# What the sampler and Visual Detail Guidance take over, where the foreign node has it.
SAMPLING = ("seed", "steps", "cfg", "eta")
DETAIL = ("length", "fps")


@dataclass
class Streams:
    """Words and image for a sampler, and the first and the last picture."""

    positive: Link
    negative: Link
    latent: Link
    first: Link
    last: Link | None


def streams(work: Work, node: Node, positive: Link | None, negative: Link | None) -> Streams | None:
    """Context, projection and detail for a foreign node; None where it has no picture."""
    graph, loader, foreign = work.graph, work.loader(node), FOREIGN[node.type]
    given = sources.settings(graph, node)
    two = foreign.mode == "interpolate" or given.get("use_interpolate") is True
    first, last = (sources.ends if two else sources.pictures)(graph, node)
    if first is None:
        graph.say(f"{node.type} ({node.id}): no picture is connected; it is left out")
        return None
    if "mask" in given:
        graph.say(f"{node.type} ({node.id}), mask: {NO_MASK}")
    mode = "interpolate" if last else foreign.mode
    whole = node.links.get("images", first) if mode == "per_frame" else first
    seen = sources.picked(graph, first, 0) if mode == "per_frame" else first
    encoded = graph.add(
        "DynamiCrafterContextEncode",
        state=node.state,
        clip_vision=given.get("clip_vision") or Link(loader.id, 3),
        image=seen,
    )
    projected = graph.add(
        "DynamiCrafterContextProjection",
        state=node.state,
        positive=positive or _words(work, loader, given.get("prompt", "")),
        negative=negative or _words(work, loader, ""),
        projector=Link(loader.id, 4),
        clip_vision_output=Link(encoded.id, 0),
        null_clip_vision_output=Link(encoded.id, 1),
    )
    checkpoint = str(loader.values["ckpt_name"])
    width, height = sources.size(graph, node, checkpoint)
    sized = {name: given[name] for name in DETAIL if name in given}
    if mode == "per_frame" and "length" not in sized:
        sized["length"] = 16 if "16" in checkpoint else 25
    detail = graph.add(
        "DynamiCrafterVisualDetailGuidance",
        state=node.state,
        positive=Link(projected.id, 0),
        negative=Link(projected.id, 1),
        vae=given.get("vae") or Link(loader.id, 2),
        image=whole,
        end_image=last if mode == "interpolate" else None,
        width=width,
        height=height,
        **{**sized, "mode": mode} if mode != "animate" else sized,
    )
    return Streams(Link(detail.id, 0), Link(detail.id, 1), Link(detail.id, 3), first, last)


def _words(work: Work, loader: Node, text: Any) -> Link:
    made = work.graph.add("CLIPTextEncode", clip=Link(loader.id, 1), text=text)
    return Link(made.id, 0)


def sampled(work: Work, node: Node) -> Streams | None:
    """A foreign sampler's chain up to its latent, or None where it has no picture."""
    graph, loader = work.graph, work.loader(node)
    given = sources.settings(graph, node)
    made = streams(work, node, given.get("positive"), given.get("negative"))
    if made is None:
        return None
    _control(work, node, made)
    if noise := sources.nearest(graph, node, [Role.NOISE]):
        graph.say(
            f"{noise.type} ({noise.id}): add Analytic-Init Noise, as in Animate with more motion "
            "(CIL)"
        )
    sampler = graph.add(
        "DynamiCrafterSampler",
        state=node.state,
        model=Link(loader.id, 0),
        positive=made.positive,
        negative=made.negative,
        latent=made.latent,
        **{name: given[name] for name in SAMPLING if name in given},
    )
    made.latent = Link(sampler.id, 0)
    return made


def _control(work: Work, node: Node, made: Streams) -> None:
    """Sketches, where the foreign node or one before it has them."""
    graph = work.graph
    control = sources.nearest(graph, node, [Role.CONTROL])
    holder = control or node
    drawn = holder.links.get("sketch") or holder.links.get("sketches")
    if control:
        drawn = drawn or sources.pictures(graph, control)[0]
    if drawn is None:
        return
    loader = sources.nearest(graph, holder, [Role.CONTROL_LOADER])
    name = sources.file_name(loader) if loader else ""
    strength = sources.settings(graph, holder).get("strength")
    applied = graph.add(
        "DynamiCrafterSketchControl",
        state=node.state,
        positive=made.positive,
        negative=made.negative,
        control_net_name=name or "sketch_encoder.ckpt",
        sketches=drawn,
        frames="",
        strength=strength,
    )
    graph.say(
        f"{holder.type} ({holder.id}): the sketch file belongs in models/controlnet, and `frames` "
        "of Sketch Control says where each sketch stands"
    )
    made.positive, made.negative = Link(applied.id, 0), Link(applied.id, 1)


def video(work: Work, node: Node) -> None:
    """A foreign node that gives images, maybe its last image second."""
    made = sampled(work, node)
    if made is None:
        return
    cartoon = "Toon" in node.type
    decoded = _decode(work, node, made.latent, made if cartoon else None)
    for slot in (0, 1):
        work.graph.redirect(Link(node.id, slot), Link(decoded.id, slot))


def latent(work: Work, node: Node) -> None:
    """A foreign node that gives a latent; the decoders after it get both pictures."""
    made = sampled(work, node)
    if made is None:
        return
    for consumer, _, slot in [*work.graph.consumers(node.id)]:
        if slot == 0 and consumer.type in FOREIGN:
            decoded = _decode(work, consumer, made.latent, made)
            work.graph.redirect(Link(consumer.id, 0), Link(decoded.id, 0))
    work.graph.redirect(Link(node.id, 0), made.latent)


def _decode(work: Work, node: Node, samples: Link, both: Streams | None) -> Node:
    ends = {"first_image": both.first, "last_image": both.last} if both else {}
    vae = Link(work.loader(node).id, 2)
    return work.graph.add(
        "DynamiCrafterVideoDecode", state=node.state, vae=vae, samples=samples, **ends
    )


def chain(work: Work, node: Node) -> None:
    """A video through a batch of pictures: a shot for each, where the batch can be seen."""
    graph, loader = work.graph, work.loader(node)
    images = node.links.get("images")
    every = sources.batch(graph, images) if images else []
    if len(every) < 3:
        if len(every) == 1:
            graph.say(
                f"{node.type} ({node.id}): only the first and the last image of the batch are "
                "joined; for those between, give Storyboard a Shot with each image"
            )
        video(work, node)
        return
    given = sources.settings(graph, node)
    prompt, clip = sources.words(graph, given.get("positive"))
    negative, _ = sources.words(graph, given.get("negative"))
    shots: Link | None = None
    for image in every:
        shot = graph.add(
            "DynamiCrafterShot",
            state=node.state,
            prompt=prompt,
            image=image,
            shots=shots,
            **{name: given[name] for name in DETAIL if name in given},
        )
        shots = Link(shot.id, 0)
    width, height = sources.size(graph, node, str(loader.values["ckpt_name"]))
    board: dict[str, Any] = {"mode": "interpolate", "width": width, "height": height}
    story = graph.add(
        "DynamiCrafterStoryboard",
        state=node.state,
        model=Link(loader.id, 0),
        clip=clip or Link(loader.id, 1),
        vae=Link(loader.id, 2),
        clip_vision=given.get("clip_vision") or Link(loader.id, 3),
        projector=Link(loader.id, 4),
        shots=shots,
        negative=negative,
        **board,
        **{name: given[name] for name in SAMPLING if name in given},
    )
    for slot in (0, 1):
        graph.redirect(Link(node.id, slot), Link(story.id, slot))


def patch(work: Work, node: Node) -> None:
    """A foreign node that prepares a model: its stock samplers get ours and both streams."""
    graph = work.graph
    model = node.links.get("model") or Link(work.loader(node).id, 0)
    samplers = [*_samplers(graph, node)]
    if not samplers:
        graph.say(f"{node.type} ({node.id}): no KSampler follows it; it is left out")
    for sampler in samplers:
        words = sampler.links.get("positive"), sampler.links.get("negative")
        made = streams(work, node, *words)
        if made is None:
            return
        sampler.links |= {"positive": made.positive, "negative": made.negative}
        sampler.links["latent_image"] = made.latent
        if (scheduler := sampler.values.get("scheduler")) in UNSUITABLE:
            graph.say(f"{sampler.type} ({sampler.id}), {scheduler}: choose the scheduler simple")
    graph.redirect(Link(node.id, 0), model)


def _samplers(graph: Graph, node: Node) -> list[Node]:
    """Stock samplers that a model reaches; takes out what our model brings itself."""
    found, queue, seen = [], [node], {node.id}
    while queue:
        one = queue.pop(0)
        for consumer, name, _ in [*graph.consumers(one.id)]:
            if consumer.id in seen or name != "model":
                continue
            seen.add(consumer.id)
            (found if "latent_image" in consumer.links else queue).append(consumer)
        if one.type in OWN:
            graph.say(f"{one.type} ({one.id}): taken out; our model brings its own")
            graph.redirect(Link(one.id, 0), one.links["model"])
            graph.remove({one.id})
    return found
