"""Makes `evaluation` and `training` importable."""

from checkout import import_package

import_package("evaluation")
import_package("training")
