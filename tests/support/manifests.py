"""The published checkpoints whose keys and shapes lie in `tests/golden/manifests`."""

FULL_MANIFESTS = (
    "dynamicrafter_256",
    "dynamicrafter_512",
    "dynamicrafter_1024",
    "dynamicrafter_512_interp",
    "tooncrafter_512_interp",
    "videocrafter1_i2v_512",
    "videocrafter1_t2v_1024",
    "videocrafter1_t2v_512",
    "videocrafter2_t2v_512",
)
