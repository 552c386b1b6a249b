"""What the shipped workflows are called: a short name for commands, a title for people.

Titles are file names, too. The host lists them as the file system does: by name on Windows, in no
order on Linux.
"""

PREFIX = "DynamiCrafter - "
TITLES = {
    "animate": "Animate an image",
    "1024": "Animate at 1024 x 576",
    "256": "Animate at 256 x 256",
    "cil": "Animate with more motion (CIL)",
    "toon": "Cartoon in-between (ToonCrafter)",
    "drag": "Drag an object",
    "extend": "Extend a video",
    "fast": "Fast",
    "folder": "Folder of pictures",
    "refine": "High-resolution refine",
    "box": "Image to video in one box",
    "interpolate": "Interpolate between two images",
    "keyframes": "Keyframes",
    "lambda": "Lambda study",
    "long": "Long video",
    "low_memory": "Low memory",
    "region": "Move one region",
    "camera": "Move the camera",
    "prompt_travel": "Prompt travel",
    "pruned": "Pruned files with Load CLIP",
    "loop": "Seamless loop",
    "sketch": "Sketch control (ToonCrafter)",
    "ksampler": "Stock KSampler",
    "storytelling": "Storytelling",
    "motion_control": "Text motion control",
    "guidance": "Two guidance scales",
    "videocrafter1_image": "VideoCrafter 1 image to video",
    "videocrafter1": "VideoCrafter 1 text to video",
    "videocrafter2": "VideoCrafter 2 text to video",
    "viewcrafter": "ViewCrafter camera path",
}


def file_name(short: str) -> str:
    """The workflow's file below workflows/."""
    return f"{PREFIX}{TITLES[short]}.json"
