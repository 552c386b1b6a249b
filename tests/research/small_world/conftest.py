"""Makes `research` importable, and what it trains with."""

import pytest
from checkout import ROOT, import_file, import_package

import_package("training")
import_package("research")
import_package("scripts")
pytest.importorskip("accelerate", reason="the training extra is not installed")
# Test modules import the shared helpers by this name.
import_file("training_helpers", ROOT / "tests" / "training" / "helpers.py")


@pytest.fixture(autouse=True)
def fresh_accelerator():
    """Accelerate keeps its settings for the whole process; each test starts without any."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
