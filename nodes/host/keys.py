"""Names under which our nodes leave things in a CONDITIONING's dict, for the model to find.

Everything travels there: stock nodes that combine, mask or schedule conditionings carry it along.
The concatenated latents use the host's own name.
"""

# [N*T or T, 4, h, w], unscaled, frame fastest: visual detail guidance.
CONCAT_LATENT = "concat_latent_image"
# [N or 1, M, C]: the query transformer's tokens.
IMAGE_CONTEXT = "dynamicrafter_image_context"
# "auto" | "shared" | "resample": how frames share those tokens.
FRAME_TOKENS = "dynamicrafter_frame_tokens"
# int: frames per video.
NUM_FRAMES = "dynamicrafter_num_frames"
# int, 0 = the model's own default for the mode.
SPEED = "dynamicrafter_speed"
# str: the mode of visual detail guidance.
MODE = "dynamicrafter_mode"
# [K, 4, h, w], unscaled, or None: the first frames of an extended video, which stay as they are.
HELD_LATENTS = "dynamicrafter_held_latents"
# bool: the text has one row per frame (prompt schedule).
TEXT_PER_FRAME = "dynamicrafter_text_per_frame"

# In transformer_options:
# "first" | "given": the frames that Pin First Frame holds.
PINNED_FRAMES = "dynamicrafter_pinned_frames"
# A `Followed`: the reference video of Reference Motion.
REFERENCE = "dynamicrafter_reference"
