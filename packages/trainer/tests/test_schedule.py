"""Learning-rate factors at their corners."""

import math

import pytest

from graftwork_trainer.schedule import lr_factor


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 1), (2, 2), (10, 0), (10, 3), (1000, 100)])
def test_warm_up_rises_to_one_and_decay_ends_at_the_final_fraction(schedule, steps, warmup):
    factor = lr_factor(schedule, steps=steps, warmup_steps=warmup, final_fraction=0.1)
    values = [factor(step) for step in range(steps)]
    assert values[:warmup] == pytest.approx([(step + 1) / warmup for step in range(warmup)])
    assert max(values) == 1.0
    assert all(0 < value <= 1 for value in values)
    assert values[warmup:] == sorted(values[warmup:], reverse=True)
    if schedule != "constant" and steps > max(warmup, 1):
        assert values[-1] == pytest.approx(0.1)


def test_cosine_is_half_way_down_in_the_middle():
    factor = lr_factor("cosine", steps=101, warmup_steps=0, final_fraction=0.0)
    assert factor(50) == pytest.approx(0.5)
    assert factor(25) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
