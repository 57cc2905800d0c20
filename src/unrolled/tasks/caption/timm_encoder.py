"""Any picture encoder of ``timm`` by its name: an extra, imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import Any, cast

import torch
from torch import Tensor, nn

from unrolled.data.image_sets import Floats
from unrolled.data.images import Pixels
from unrolled.errors import UserError
from unrolled.tasks.caption.config import TIMM, CaptionConfig


def import_timm() -> Any:
    """The module.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise UserError(
            f"--encoder timm: timm is not installed ({error}); pip install timm, or use --encoder small"
        ) from None


def create(name: str, pretrained: bool) -> nn.Module:
    """A timm model without its head.

    Raises:
        UserError: no timm, no such model, or its weights are not to be had.
    """
    timm = import_timm()
    try:
        return cast(nn.Module, timm.create_model(name, pretrained=pretrained, num_classes=0))
    except Exception as error:  # timm, its hub and the network have errors of their own
        hint = "; without a network use --no-pretrained" if pretrained else ""
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"--encoder timm:{name}: timm cannot make it ({first}); timm.list_models() names those it knows{hint}"
        ) from None


class TimmEncoder(nn.Module):
    """A timm model as an encoder: pixels to its last grid of features.

    Attributes:
        width: F. size: pixels a side that the model was made for.
    """

    def __init__(self, config: CaptionConfig, *, pretrained: bool | None = None) -> None:
        super().__init__()
        name = config.encoder.removeprefix(TIMM)
        wanted = config.pretrained if pretrained is None else pretrained
        self.model = create(name, wanted)
        backbone: Any = self.model
        known = importlib.import_module("timm.data").resolve_model_data_config(self.model)
        self.size = int(known["input_size"][-1])
        self.width = int(backbone.num_features)
        self.register_buffer("mean", torch.tensor(known["mean"]) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(known["std"]) * 255, persistent=False)

    def forward(self, pixels: Tensor, sizes: Tensor | None) -> tuple[Tensor, None]:
        """uint8 (B, H, W, 3), all of one size, to (B, h, w, F)."""
        mean, std = cast(Tensor, self.mean), cast(Tensor, self.std)
        x = ((pixels.to(mean.dtype) - mean) / std).permute(0, 3, 1, 2)
        return self._grid(cast(Any, self.model).forward_features(x)), None

    def _grid(self, found: Tensor) -> Tensor:
        F = self.width
        if found.dim() == 4:  # (B, F, h, w), or (B, h, w, F) of the Swin family
            return found if found.shape[3] == F and found.shape[1] != F else found.permute(0, 2, 3, 1)
        if found.dim() == 3:  # tokens (B, N, F), of which the first are no places
            found = found[:, int(getattr(self.model, "num_prefix_tokens", 0)) :]
            side = round(found.shape[1] ** 0.5)
            rows = side if side * side == found.shape[1] else 1
            return found.reshape(len(found), rows, -1, F)
        return found[:, None, None]


class FrozenTimm:
    """A timm model that is not trained: its features are computed once for each picture and kept on disk."""

    def __init__(self, config: CaptionConfig) -> None:
        self.encoder = TimmEncoder(config).eval().requires_grad_(False)
        version = getattr(import_timm(), "__version__", "?")
        self.name = f"{config.encoder} pretrained={config.pretrained} timm={version}"
        self.grid: tuple[int, int] | None = None

    @torch.no_grad()
    def features(self, pictures: list[Pixels]) -> list[Floats]:
        """(h*w, F) float32 of each picture, all of one size."""
        pixels = torch.stack([torch.from_numpy(p.copy()) for p in pictures])
        grid, _ = self.encoder(pixels, None)
        return [one.flatten(0, 1).float().contiguous().numpy() for one in grid]

    def look_once(self, size: int) -> tuple[int, int]:
        """Rows and columns of the grid of a picture of ``size`` pixels a side."""
        with torch.no_grad():
            grid, _ = self.encoder(torch.zeros(1, size, size, 3, dtype=torch.uint8), None)
        return int(grid.shape[1]), int(grid.shape[2])
