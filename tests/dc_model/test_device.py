import pytest
import torch

from dc_model.device import DeviceError, usable_device


def test_a_device_that_computes_is_given_back() -> None:
    assert usable_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("device", ["foo", "meta", "cpu:zero", ""])
def test_one_that_does_not_is_named_with_the_reason(device: str) -> None:
    with pytest.raises(DeviceError, match=f"'{device}' cannot be used .*; choose cpu"):
        usable_device(device)
