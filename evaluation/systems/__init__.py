"""The systems that are compared, as data: each kind is a section of the file that can open itself.

`open(device, protocol)` is a context that gives a `Maker`; what it needs is loaded then.
"""

from typing import Annotated

from pydantic import Field

from .checkpoint import AutoencoderSystem, CheckpointSystem
from .pipeline import PipelineSystem
from .videos import FolderSystem, StillSystem
from .workflow import WorkflowSystem

System = Annotated[
    CheckpointSystem
    | AutoencoderSystem
    | WorkflowSystem
    | PipelineSystem
    | FolderSystem
    | StillSystem,
    Field(discriminator="kind"),
]
