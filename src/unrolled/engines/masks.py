"""Random masks from a counter: the bit for (stream, step, row, unit) depends on nothing else.

Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3") in plain torch integers,
so that any engine, device, thread count or order of work draws the same masks from the same seed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unrolled.engines.call import Call

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)

RECURRENT_DROPOUT, ZONEOUT, DROPOUT, EMBEDDING = 1, 2, 3, 4
"""Kinds of mask, the top byte of a stream number. DROPOUT is behind a layer, EMBEDDING on an embedding's table."""


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Ten rounds over four 32-bit words held in int64 tensors (which broadcast); four words out."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # The 64-bit product may wrap to a negative number; its two halves are right all the same.
        a, b = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = ((b >> 32) & _WORD) ^ c1 ^ k0, b & _WORD, ((a >> 32) & _WORD) ^ c3 ^ k1, a & _WORD
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    return c0, c1, c2, c3


def draw_seed() -> Tensor:
    """A 63-bit seed from torch's default CPU generator, whatever the default device.

    One draw for each forward call that needs masks.
    """
    return torch.randint(0, 2**63 - 1, (), device="cpu")


def stream(kind: int, layer: int, direction: int, state: int = 0) -> int:
    """The stream number of one mask of one layer and direction."""
    return (kind << 24) | (layer << 4) | (direction << 2) | state


def hits(p: float, seed: Tensor, stream: int, T: int, B: int, N: int, device: torch.device) -> Tensor:
    """Booleans (T, B, N), True with probability ``p``."""
    seed = seed.to(device)
    block = torch.arange((N + 3) // 4, device=device)
    row = torch.arange(B, device=device)[:, None]
    step = torch.arange(T, device=device)[:, None, None]
    constant = torch.full((), stream, dtype=torch.int64, device=device)
    words = philox((block, row, step, constant), (seed & _WORD, (seed >> 32) & _WORD))
    whole = (T, B, block.shape[0])
    flat = torch.stack([word.expand(whole) for word in words], -1).flatten(-2)[..., :N]
    return flat < round(p * 2**32)


def dropout_mask(p: float, seed: Tensor, stream: int, B: int, N: int, like: Tensor) -> Tensor:
    """Inverted dropout (B, N): 0 with probability ``p``, otherwise 1 / (1 - p)."""
    dropped = hits(p, seed, stream, 1, B, N, like.device)[0]
    return (~dropped).to(like.dtype) * (1.0 / (1.0 - p))


def dropout(x: Tensor, p: float, seed: Tensor, stream: int) -> Tensor:
    """Inverted dropout of ``x`` (T, B, N), drawn anew for each step, row and unit."""
    if p >= 1:
        return x * 0
    T, B, N = x.shape
    dropped = hits(p, seed, stream, T, B, N, x.device)
    return x * ((~dropped).to(x.dtype) * (1.0 / (1.0 - p)))


def with_masks(
    call: Call, layer: int, direction: int, recurrent_dropout: float, zoneout: tuple[float, ...], seed: Tensor | None
) -> Call:
    """``call`` with the masks of this layer and direction drawn from ``seed``; None, in evaluation, draws none."""
    cell, B, like = call.cell, call.x.shape[1], call.state[0]
    if not any(zoneout):
        zoneout = ()
    if seed is None:
        return Call(call.cell, call.w, call.x, call.state, call.lengths, call.resets, call.reverse, zoneout=zoneout)
    mask: Tensor | None = None
    if recurrent_dropout:
        mask = dropout_mask(
            recurrent_dropout, seed, stream(RECURRENT_DROPOUT, layer, direction), B, cell.output_size, like
        )
    streams = tuple(stream(ZONEOUT, layer, direction, j) for j in range(len(zoneout)))
    zoned = tuple(
        hits(p, seed, place, call.x.shape[0], B, N, like.device)
        for p, place, N in zip(zoneout, streams, cell.state_sizes(), strict=False)
    )
    return Call(
        cell, call.w, call.x, call.state, call.lengths, call.resets, call.reverse, mask, zoneout, zoned, seed, streams
    )
