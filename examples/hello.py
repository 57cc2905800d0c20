"""The lecture's smallest language model: "hello" over the vocabulary [h, e, l, o], three hidden units.

At each step it prints what the lecture's slide shows (input, hidden state, scores, softmax, target, sample), before
and after training; then it feeds its own samples back, as at test time. Run: python examples/hello.py
"""

from __future__ import annotations

import torch
from torch import nn

from unrolled import RNN

VOCABULARY = ["h", "e", "l", "o"]
TEXT = "hello"


def column(values: torch.Tensor) -> str:
    return "[" + " ".join(f"{v:5.2f}" for v in values.tolist()) + "]"


@torch.no_grad()
def show(rnn: nn.Module, head: nn.Module, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> None:
    """One row a step; x and y hold the ids of inputs and targets, (T, 1)."""
    h, _ = rnn(x)  # ids stand for one-hot vectors: W_xh times a one-hot vector is one column of W_xh
    scores = head(h)
    p = scores.softmax(-1)
    print(f"{'input':<28} {'hidden state':<19} {'scores':<25} {'softmax':<25} target sample")
    for t in range(len(x)):
        one_hot = column(nn.functional.one_hot(x[t, 0], len(VOCABULARY)).float())
        sample = torch.multinomial(p[t, 0], 1, generator=generator).item()
        print(
            f"{VOCABULARY[x[t, 0]]} {one_hot:<26} {column(h[t, 0])} {column(scores[t, 0])} {column(p[t, 0])} "
            f"{VOCABULARY[y[t, 0]]:<6} {VOCABULARY[int(sample)]}"
        )
    print(f"loss {nn.functional.cross_entropy(scores[:, 0], y[:, 0]):.4f} nats per character\n")


@torch.no_grad()
def write(rnn: nn.Module, head: nn.Module, first: int, length: int, generator: torch.Generator) -> str:
    """Sample one character at a time and feed it back."""
    ids, state = [first], None
    for _ in range(length):
        h, state = rnn(torch.tensor([[ids[-1]]]), state)
        ids.append(int(torch.multinomial(head(h[0, 0]).softmax(-1), 1, generator=generator)))
    return "".join(VOCABULARY[i] for i in ids)


def main() -> None:
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(5)
    ids = torch.tensor([VOCABULARY.index(c) for c in TEXT]).unsqueeze(1)  # (T+1, B=1)
    x, y = ids[:-1], ids[1:]
    rnn, head = RNN(len(VOCABULARY), 3), nn.Linear(3, len(VOCABULARY))

    print("before training")
    show(rnn, head, x, y, generator)

    optimiser = torch.optim.Adam([*rnn.parameters(), *head.parameters()], lr=0.1)
    for _ in range(200):
        h, _ = rnn(x)
        loss = nn.functional.cross_entropy(head(h)[:, 0], y[:, 0])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    print("after 200 updates")
    show(rnn, head, x, y, generator)
    print("its own samples fed back:", write(rnn, head, 0, len(TEXT) - 1, generator))


if __name__ == "__main__":
    main()
