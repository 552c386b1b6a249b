"""Whether PyTorch computes on a device, found out before any work."""

import torch

from .shown import shown


class DeviceError(ValueError):
    """A device that is unknown or not there; the message says why."""


def usable_device(device: torch.device | str) -> torch.device:
    """The device, after one number was computed on it. Raises DeviceError."""
    try:
        found = torch.device(device)
        # A build without CUDA asserts, and the device `meta` holds no numbers.
        torch.zeros(1, device=found).item()
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AssertionError, ImportError) as error:
        raise DeviceError(
            f"The device '{shown(device)}' cannot be used ({shown(error)}); choose cpu, or one "
            "that this machine and this PyTorch have."
        ) from error
    return found
