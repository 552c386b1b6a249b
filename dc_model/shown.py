"""Foreign text in messages and logs: file names, keys, metadata, widget values."""

MAX_SHOWN = 120


def shown(value: object, longest: int = MAX_SHOWN) -> str:
    """`value` as one short line that any terminal and log can print.

    Control characters, line breaks, direction marks and lone surrogates come out as escapes.
    longest: characters of the result, before the dots that stand for the rest.
    """
    text = value if isinstance(value, str) else _text(value)
    line = "".join(c if c.isprintable() else _escaped(c) for c in text[: longest + 1])
    return line if len(line) <= longest else f"{line[:longest]}..."


def _text(value: object) -> str:
    try:
        return str(value)
    # Numbers of 5000 digits, containers of a thousand levels.
    except (ValueError, RecursionError, MemoryError):
        return f"a {type(value).__name__}"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
