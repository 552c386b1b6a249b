"""The folder that the pack lies in, whose name is part of every address of the page's files."""

import logging
import re

from ...dc_model.shown import shown

logger = logging.getLogger(__name__)

# What the host's web server leaves unquoted in a path.
_PLAIN = r"[A-Za-z0-9_.~!$&'()*+,;=:@-]*"


def warn_of_folder(name: str) -> None:
    """One warning when ComfyUI cannot serve files from a pack folder of this name.

    The server quotes the name twice, so any name that quoting changes is never found.
    """
    if not re.fullmatch(_PLAIN, name):
        logger.warning(
            "ComfyUI cannot serve files from a folder called %r: its templates and help pages "
            "will be missing, and bypassed nodes hand on wrong inputs. Rename the folder to "
            "dynamicrafter-nodes, without spaces, #, %% or accents, then start again.",
            shown(name),
        )
