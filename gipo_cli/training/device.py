"""Where to compute."""

import re

import torch

from gipo_cli.errors import SettingError


def choose_device(name: str) -> torch.device:
    """The device that auto, cpu, cuda or cuda:N names; auto is the first CUDA device, or the CPU where there is none.

    Raises:
        SettingError: the name is not one of these, or there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise SettingError(f"--device is {name!r}.", "Expected auto, cpu, cuda or cuda:N.")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingError(
            f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices that torch can use.",
            "Try --device auto.",
        )
    return device
