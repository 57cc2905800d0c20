"""From pictures to what a decoder looks at: a grid of places, each with a vector; and one vector of the whole."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.tasks.caption.config import CaptionConfig

WAVES = 4
"""Wavelengths by which a place is told along each axis: a sine and a cosine each."""
LONGEST_WAVE = 64.0


@dataclasses.dataclass
class Seen:
    """What an encoder saw.

    Attributes:
        memory: (S, B, M), a vector for each place, row after row of each picture's own grid; zero past its length.
        lengths: int64 (B,) places; None where all have S.
        whole: (B, M), one vector for the whole picture.
        grids: rows and columns of each picture's grid; None for features that lie in no grid.
    """

    memory: Tensor
    lengths: Tensor | None
    whole: Tensor
    grids: Sequence[tuple[int, int]] | None


class PlaceNorm(nn.BatchNorm2d):
    """Batch normalisation over the places that are a picture's own: padding has no part in it.

    In training by the mean and variance of the batch, otherwise by their running averages (Ioffe & Szegedy 2015,
    arXiv:1502.03167). It takes away what all places share, so that a small thing on a wide ground stands out: on
    generated shapes the loss after 300 updates of 32 was 0.65 nats, and 0.97 with layer normalisation of each place
    (one run each, at rates of 3e-3 and 4e-3).
    """

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """(B, C, H, W), and bool (B, H, W), None where all places count; the others get zero."""
        if inside is None:
            return self._norm(x)
        own = self._norm(x.permute(0, 2, 3, 1)[inside].t()[None, :, :, None])  # (1, C, places, 1)
        y = x.new_zeros(x.shape[0], x.shape[2], x.shape[3], x.shape[1])
        y[inside] = own[0, :, :, 0].t()
        return y.permute(0, 3, 1, 2)

    def _norm(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:  # one place has no variance
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


class Halving(nn.Module):
    """A convolution of stride 2, and residual ones of stride 1 behind it; each normalised, then rectified.

    (B, C, H, W) to (B, C', ceil(H/2), ceil(W/2)). What lies past a picture's own size is set to zero after each, so a
    picture sees at its edge what it would see alone.
    """

    def __init__(self, channels: int, out: int, blocks: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(channels if k == 0 else out, out, 3, 2 if k == 0 else 1, 1, bias=False) for k in range(1 + blocks)
        )
        self.norms = nn.ModuleList(PlaceNorm(out) for _ in range(1 + blocks))

    def forward(self, x: Tensor, sizes: Tensor | None) -> tuple[Tensor, Tensor | None]:
        inside: Tensor | None = None
        for k, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = conv(x)
            if k == 0 and sizes is not None:
                sizes = (sizes + 1) // 2
                inside = within(sizes, y.shape[2], y.shape[3])
            y = norm(y, inside).relu()
            x = y if k == 0 else x + y
        return x, sizes


class SmallEncoder(nn.Module):
    """A convolutional network small enough to be trained along on a CPU: ``stages`` of :class:`Halving`.

    Channels lie last in memory, as oneDNN's convolutions and the normalisation like them.

    Args:
        config: ``width`` channels after the first stage, twice as many after each next.
    """

    def __init__(self, config: CaptionConfig) -> None:
        super().__init__()
        channels = [3, *(config.width * 2**k for k in range(config.stages))]
        self.stages = nn.ModuleList(Halving(a, b, config.blocks) for a, b in itertools.pairwise(channels))
        self.width = channels[-1]

    def forward(self, pixels: Tensor, sizes: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """uint8 (B, H, W, 3) and own sizes (B, 2) to a grid (B, h, w, C) and its own sizes (B, 2)."""
        like = self.stages[0].convs[0].weight  # type: ignore[union-attr, index]
        x = (255 - pixels.permute(0, 3, 1, 2)).to(like.dtype).div_(64.0)  # white is 0, as the convolutions' padding
        if sizes is not None:
            x = x.masked_fill(~within(sizes, x.shape[2], x.shape[3])[:, None], 0.0)
        for stage in self.stages:
            x, sizes = stage(x, sizes)
        return x.permute(0, 2, 3, 1), sizes

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns that a picture of this size becomes."""
        for _ in self.stages:
            height, width = (height + 1) // 2, (width + 1) // 2
        return height, width


class Looker(nn.Module):
    """Makes a :class:`Seen` of a grid, or of a list, of feature vectors.

    Every place's vector is joined with where it lies (sines and cosines of row and column, as Vaswani et al. 2017,
    arXiv:1706.03762, section 3.5) and projected to M. The whole is a linear map of all places where every picture has
    the same grid and ``places`` says so, and of their mean where not.

    Args:
        features: F, width of the vectors. memory: M. places: S, for a whole of all places; None for one of their mean.
        placed: whether vectors lie in a grid.
    """

    def __init__(self, features: int, memory: int, places: int | None, *, placed: bool = True) -> None:
        super().__init__()
        self.placed, self.places = placed, places
        self.project = nn.Linear(features + (4 * WAVES if placed else 0), memory)
        self.whole = nn.Linear(memory * (places or 1), memory)

    def forward(self, grid: Tensor, sizes: Tensor | None) -> Seen:
        """A grid (B, h, w, F) and its own sizes (B, 2), None where all are (h, w)."""
        B, h, w, _ = grid.shape
        if self.placed:
            grid = torch.cat((grid, places(h, w, grid).expand(B, h, w, -1)), -1)
        memory = self.project(grid).relu().flatten(1, 2).transpose(0, 1)
        if sizes is None:
            return Seen(memory, None, self._whole(memory, None), [(h, w)] * B)
        # A picture's own places come first, row by row of its own grid; then padding.
        rows, columns = sizes.unbind(1)
        lengths = rows * columns
        longest = int(lengths.max())
        own = torch.arange(longest, device=grid.device)[:, None].expand(longest, B)
        own = torch.where(own < lengths, own.div(columns, rounding_mode="floor") * w + own % columns, 0)
        memory = memory.gather(0, own[..., None].expand(-1, -1, memory.shape[2]))
        return self.listed(memory, lengths, [(int(r), int(c)) for r, c in sizes.tolist()])

    def lists(self, values: Tensor, lengths: Tensor | None) -> Seen:
        """Vectors (S, B, F) in no grid."""
        return self.listed(self.project(values).relu(), lengths, None)

    def listed(self, memory: Tensor, lengths: Tensor | None, grids: Sequence[tuple[int, int]] | None) -> Seen:
        """Projected vectors (S, B, M), those past the lengths set to zero."""
        if lengths is not None:
            outside = torch.arange(len(memory), device=memory.device)[:, None] >= lengths
            memory = memory.masked_fill(outside[..., None], 0.0)
        return Seen(memory, lengths, self._whole(memory, lengths), grids)

    def _whole(self, memory: Tensor, lengths: Tensor | None) -> Tensor:
        if self.places is not None:
            return self.whole(memory.transpose(0, 1).flatten(1)).relu()  # type: ignore[no-any-return]
        # One place after another, so that padding, which adds zeros at the end, changes no bit of the sum.
        total = memory.cumsum(0)[-1]
        count = len(memory) if lengths is None else lengths.clamp(min=1)[:, None].to(memory.dtype)
        return self.whole(total / count).relu()  # type: ignore[no-any-return]


def places(h: int, w: int, like: Tensor) -> Tensor:
    """Where each place of a grid lies: (h, w, 4 * WAVES) sines and cosines of its row and its column."""
    rates = torch.exp(-math.log(LONGEST_WAVE) * torch.arange(WAVES, device=like.device) / WAVES)
    rows, columns = (torch.arange(n, device=like.device)[:, None] * rates for n in (h, w))
    down = torch.cat((rows.sin(), rows.cos()), -1)[:, None].expand(h, w, -1)
    across = torch.cat((columns.sin(), columns.cos()), -1)[None].expand(h, w, -1)
    return torch.cat((down, across), -1).to(like.dtype)


def within(sizes: Tensor, h: int, w: int) -> Tensor:
    """bool (B, h, w): which places of a batch's grid are a picture's own."""
    down = torch.arange(h, device=sizes.device) < sizes[:, :1]
    across = torch.arange(w, device=sizes.device) < sizes[:, 1:]
    return down[:, :, None] & across[:, None]


def shifted(pixels: Tensor, by: int) -> Tensor:
    """Each picture of (B, H, W, 3) moved by up to ``by`` pixels each way, white where nothing was; draws from torch's
    global generator."""
    B, H, W, _ = pixels.shape
    wide = F.pad(pixels, (0, 0, by, by, by, by), value=255)
    moves = torch.randint(0, 2 * by + 1, (B, 2)).tolist()
    return torch.stack([wide[k, y : y + H, x : x + W] for k, (y, x) in enumerate(moves)])


def mirrored(pixels: Tensor) -> Tensor:
    """Every second picture of (B, H, W, 3), drawn from torch's global generator, from right to left."""
    chosen = torch.rand(len(pixels)) < 0.5
    return torch.where(chosen.to(pixels.device)[:, None, None, None], pixels.flip(2), pixels)
