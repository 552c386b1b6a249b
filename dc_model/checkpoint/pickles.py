"""What a pickle would do, told from its instructions before any of them runs.

PyTorch's restricted unpickler runs no foreign code, but a kilobyte can ask it for gigabytes (a
byte array of any length, an encoding that doubles its input again and again), and some megabytes
of instructions keep it busy for minutes.
"""

import io
import pickletools

from .detect import CheckpointError

# The largest published listings have less than a megabyte and 200 000 instructions.
LARGEST_PICKLE = 16 * 1024**2
MOST_INSTRUCTIONS = 2_000_000

# Types that take memory by a number, as pickles name them.
_BY_LENGTH = {"builtins bytearray", "__builtin__ bytearray"}
# Encodings from bytes to more bytes, which one pickle can chain.
_ENCODER = "_codecs encode"
_GROWING = {
    *("hex", "hex_codec", "base64", "base64_codec", "base_64", "uu", "uu_codec"),
    *("quopri", "quopri_codec", "quotedprintable", "quoted_printable"),
}


def check_program(data: bytes, pickles: int = 1) -> None:
    """Raise CheckpointError unless `data` starts with so many pickles of a checkpoint's kind.

    data: up to `LARGEST_PICKLE` bytes; what lies behind the pickles is not looked at. Raises
    ValueError where the bytes are no pickle.
    """
    stream, count, encodes, texts = io.BytesIO(data), 0, False, set()
    for _ in range(pickles):
        for instruction, argument, _place in pickletools.genops(stream):
            count += 1
            if count > MOST_INSTRUCTIONS:
                raise CheckpointError(
                    f"Its pickle has more than {MOST_INSTRUCTIONS} instructions, which no "
                    "checkpoint needs: convert its state dict to safetensors."
                )
            if instruction.name == "GLOBAL" and argument in _BY_LENGTH:
                raise CheckpointError(
                    "Its pickle makes a byte array, which can fill the memory and is no tensor: "
                    "convert its state dict to safetensors."
                )
            encodes |= instruction.name == "GLOBAL" and argument == _ENCODER
            if isinstance(argument, str) and len(argument) < 32:
                texts.add(argument.lower().replace("-", "_").replace(" ", "_"))
    if encodes and texts & _GROWING:
        raise CheckpointError(
            "Its pickle encodes text in a way that can fill the memory: convert its state dict to "
            "safetensors."
        )
