"""The trainer is a plain loop: the same as a dozen lines over torch."""

from __future__ import annotations

import math

import torch

from tests.training.char_task import CharTask, Runner, config
from unrolled.training.schedule import Schedule


def test_the_loop_against_a_naive_one(run: Runner) -> None:
    settings = config(steps=50, dtype="float64", average=0.0, optimiser="adam")
    task = CharTask(settings)
    torch.manual_seed(settings.seed)
    model = task.build().double()
    optimiser = torch.optim.Adam(model.parameters(), betas=(0.9, 0.99), foreach=False)
    schedule = Schedule("cosine", settings.warmup, 0.0)
    stream, carry, losses = task.stream(), {}, []
    for step in range(50):
        for group in optimiser.param_groups:
            group["lr"] = settings.lr * schedule.factor(step, 50)
        loss = task.loss(model, stream.next(), carry)
        optimiser.zero_grad()
        loss.objective.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimiser.step()
        carry = loss.carry
        losses.append(loss.nats.item())
    ran = run("run", settings)
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(ran.weights[name], weight, rtol=1e-9, atol=1e-11)
    for record in ran.notes.steps[3:]:  # from update 21 on there is one of each
        assert math.isclose(record["loss"], losses[record["step"] - 1], rel_tol=1e-9)
    assert ran.result is not None
    assert ran.result.units == 2000
    with torch.no_grad():
        again = task.evaluate(ran.trainer.model, "dev")
    assert again == ran.result.dev
