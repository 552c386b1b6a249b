"""What people type into the node search, and which of our nodes they may want."""

ID = "DynamiCrafter"
DETAIL = f"{ID}VisualDetailGuidance"
LOADER = f"{ID}CheckpointLoader"
BOX, BETWEEN, LOOP, TEXT, LONG, CARTOON = (
    f"{task} ({ID})"
    for task in (
        *("Image to Video", "First and Last Frame to Video", "Seamless Loop", "Text to Video"),
        *("Long Video", "Cartoon In-between"),
    )
)
# How many of ours a user looks at; the family's name must find a whole box at once. Behind the box
# stands PIC, and loader and sampler far below: the page orders names that begin with the typed word
# by their length, ids are names, too, and never change, and aliases have no part in that order.
# "load dynamicrafter" and "dynamicrafter sampler" find one node each.
PLACES = {"dynamicrafter": 1}
# What is typed, and which of them a user may want: one is among the first three of ours.
WANTED: dict[str, tuple[str, ...]] = {
    "dynamicrafter": (ID,),
    "i2v": (DETAIL,),
    "image to video": (BOX, DETAIL),
    "animate": (DETAIL,),
    "interpolate": (DETAIL,),
    "in-between": (CARTOON, DETAIL),
    "first and last frame": (BETWEEN,),
    "loop": (LOOP,),
    "keyframe": (f"{ID}Keyframe",),
    "motion": (f"{ID}MotionAmount",),
    "drag": (f"{ID}DragMotion",),
    "trajectory": (f"{ID}DragMotion",),
    "camera": (f"{ID}CameraMotion",),
    "hold region": (f"{ID}ReferenceMotion",),
    "more motion": (f"{ID}MotionAmount", f"{ID}Lambda"),
    "motion strength": (f"{ID}Lambda",),
    "long video": (LONG,),
    "story": (f"{ID}Storyboard",),
    "text to video": (TEXT, f"{ID}EmptyVideo"),
    "t2v": (f"{ID}EmptyVideo",),
    "tooncrafter": (LOADER,),
    "viewcrafter": (LOADER,),
    "videocrafter": (LOADER,),
    "load dynamicrafter": (LOADER,),
    "dynamicrafter sampler": (f"{ID}Sampler",),
    "ksampler": (f"{ID}Sampler",),
    "prompt travel": (f"{ID}PromptSchedule",),
    "sketch": (f"{ID}SketchControl",),
    "fvd": (f"{ID}VideoDistance",),
    "video decode": (f"{ID}VideoDecode",),
}
