"""Makes `benchmarks` importable."""

from checkout import import_package

import_package("benchmarks")
