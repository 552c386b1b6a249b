"""Makes `evaluation`, and what it measures, importable."""

from checkout import import_package

import_package("evaluation")
import_package("training")
import_package("research")
import_package("scripts")
