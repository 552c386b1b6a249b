"""The network: a U-Net over frames whose spatial layers attend to the text and to the image."""

from .unet import DynamiCrafterUNet

__all__ = ["DynamiCrafterUNet"]
