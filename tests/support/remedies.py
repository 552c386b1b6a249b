"""How a remedy is distinguished from what is wrong: it has a verb that says what to do."""

import re

REMEDY = re.compile(
    r"\b(add|bring|change|check|choose|clamp|connect|convert|delete|disconnect|divide|download|"
    r"give|hold|install|keep|lengthen|list|load|look|lower|make|name|paint|pick|put|raise|remove|rename|save|"
    r"set|start|switch|take|unload|update|use|write)\b",
    re.IGNORECASE,
)
