"""The lecture's character-level RNN, on unrolled's layer: a plain text in, samples out, until Ctrl-C.

    python examples/min_char_rnn.py FILE [STEPS]

The network is h = tanh(W_hh h + W_xh x + b_h), y = W_hy h + b_y. The text is read in chunks of 25 characters; the
state is carried from one chunk to the next and its gradient is cut there: truncated back-propagation through time.
"""

from __future__ import annotations

import math
import pathlib
import sys

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import unrolled

HIDDEN = 100
CHUNK = 25
RATE = 0.1


class CharRnn(nn.Module):
    """Ids (T, 1) and a state in; scores (T, V) and the next state out."""

    def __init__(self, V: int) -> None:
        super().__init__()
        # init="normal": weights N(0, 0.01^2), biases 0. torch's layers have two biases; one of them stays 0 here.
        self.rnn = unrolled.RNN(V, HIDDEN, init="normal")
        self.rnn.bias_hh_l0.requires_grad_(False)
        self.head = nn.Linear(HIDDEN, V)
        nn.init.normal_(self.head.weight, 0.0, 0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, ids: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        h, state = self.rnn(ids, state)  # ids: a lookup in W_xh, the same as a product with one-hot vectors
        return self.head(h)[:, 0], state


@torch.no_grad()
def sample(model: CharRnn, state: Tensor | None, first: int, length: int) -> list[int]:
    """Draw one character after another, each fed back as the next input."""
    ids = [first]
    for _ in range(length):
        scores, state = model(torch.tensor([[ids[-1]]]), state)
        ids.append(int(torch.multinomial(scores[-1].softmax(-1), 1)))
    return ids[1:]


@torch.no_grad()
def update(weights: list[nn.Parameter], memory: list[Tensor]) -> None:
    """Clip each element to [-5, 5], then Adagrad with its epsilon inside the root."""
    for weight, squares in zip(weights, memory, strict=True):
        gradient = weight.grad.clamp_(-5, 5)
        squares += gradient**2
        weight -= RATE * gradient / (squares + 1e-8).sqrt()
        weight.grad = None


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python examples/min_char_rnn.py FILE [STEPS]")
    text = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")
    last_step = int(sys.argv[2]) if len(sys.argv) == 3 else None
    if len(text) < CHUNK + 2:
        sys.exit(f"{sys.argv[1]}: {len(text)} characters are too few; give a text of at least {CHUNK + 2}")
    characters = sorted(set(text))
    V = len(characters)
    number = {c: i for i, c in enumerate(characters)}
    ids = torch.tensor([number[c] for c in text])
    print(f"{len(text)} characters, {V} of them different")

    torch.manual_seed(0)
    model = CharRnn(V)
    weights = [w for w in model.parameters() if w.requires_grad]
    memory = [torch.zeros_like(w) for w in weights]
    smooth = CHUNK * math.log(V)  # the loss of a network that knows nothing, summed over a chunk
    step, place, state = 0, 0, None
    while last_step is None or step < last_step:
        if place + CHUNK + 1 >= len(ids):
            place, state = 0, None  # start the text again, with nothing in memory
        x, y = ids[place : place + CHUNK, None], ids[place + 1 : place + CHUNK + 1]
        if step % 100 == 0:
            written = "".join(characters[i] for i in sample(model, state, int(x[0]), 200))
            print(f"----\n{written}\n----\nstep {step}, loss {smooth:.3f} ({smooth / CHUNK:.3f} nats per character)")

        scores, state = model(x, state)
        loss = F.cross_entropy(scores, y, reduction="sum")
        loss.backward()
        update(weights, memory)
        state = unrolled.detach(state)  # this line is the truncation

        smooth = 0.999 * smooth + 0.001 * loss.item()
        place += CHUNK
        step += 1


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print()
