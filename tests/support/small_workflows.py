"""What makes a shipped workflow or box small: its model, and the settings of its nodes."""

from typing import Any

SIZE, LENGTH, VIEW_FRAMES, LONG_FRAMES = 64, 4, 25, 10
# Where it is not the animating 512.
VARIANTS = {
    "256": "256",
    "1024": "1024",
    "cil": "cil_512",
    "interpolate": "512_interp",
    "keyframes": "512_interp",
    "loop": "512_interp",
    "sketch": "toon_512",
    "toon": "toon_512",
    "videocrafter1": "videocrafter1_512",
    "videocrafter1_image": "videocrafter1_i2v",
    "videocrafter2": "videocrafter2",
    "viewcrafter": "viewcrafter_25",
}
SMALL: dict[str, dict[str, Any]] = {
    "DynamiCrafterVisualDetailGuidance": {"width": SIZE, "height": SIZE, "length": LENGTH},
    "DynamiCrafterDragMotion": {"width": SIZE, "height": SIZE, "length": LENGTH, "path": "9, 9"},
    "DynamiCrafterCameraMotion": {"width": SIZE, "height": SIZE, "length": LENGTH},
    "DynamiCrafterEmptyVideo": {"width": SIZE, "height": SIZE, "length": LENGTH},
    "DynamiCrafterSampler": {"steps": 2},
    "KSampler": {"steps": 2},
    "DynamiCrafterPromptSchedule": {"length": LENGTH, "prompts": "0: the sun sets\n2: it rises"},
    "DynamiCrafterExtend": {"length": LENGTH, "overlap": 2},
    "DynamiCrafterShot": {"length": LENGTH},
    "DynamiCrafterStoryboard": {"width": SIZE, "height": SIZE, "steps": 2, "overlap": 2},
    "ContextWindowsManual": {"context_length": LENGTH, "context_overlap": 2},
    "ImageScaleBy": {"scale_by": 1.0},
    # Pictures at the video's size, and the masks on them.
    "ImageScale": {"width": SIZE, "height": SIZE},
    "SolidMask": {"width": SIZE, "height": SIZE},
    "MaskComposite": {"x": SIZE // 4, "y": SIZE // 4},
    "DynamiCrafterVideoDecode": {"tile_size": 0},
}
# Models of the boxes.
BOXES = {
    "Image to Video (DynamiCrafter)": "512",
    "DynamiCrafter": "512",
    "First and Last Frame to Video (DynamiCrafter)": "512_interp",
    "Seamless Loop (DynamiCrafter)": "512_interp",
    "Text to Video (DynamiCrafter)": "videocrafter2",
    "Long Video (DynamiCrafter)": "512",
    "Cartoon In-between (DynamiCrafter)": "toon_512",
}
