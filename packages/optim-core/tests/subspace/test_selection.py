"""Which weights are transformed, by rule, and that their names stay with them."""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from graftwork_optim_core import GWTAdamW, param_groups


def language_model() -> nn.Module:
    block = nn.ModuleDict(
        {
            "self_attn": nn.ModuleDict({"q_proj": nn.Linear(8, 8, bias=False), "o_proj": nn.Linear(8, 8)}),
            "mlp": nn.ModuleDict({"up_proj": nn.Linear(8, 12, bias=False), "norm": nn.LayerNorm(12)}),
            "router": nn.Linear(8, 2),
        }
    )
    return nn.ModuleDict(
        {"embed": nn.Embedding(10, 8), "layers": nn.ModuleList([block]), "lm_head": nn.Linear(8, 10)}
    )


def names(groups: list[dict[str, Any]]) -> list[list[str]]:
    return [[name for name, _ in group["params"]] for group in groups]


def test_the_published_rule_takes_linear_weights_of_attention_and_mlp() -> None:
    transformed, plain = param_groups(language_model())
    assert names([transformed])[0] == [
        "layers.0.self_attn.q_proj.weight",
        "layers.0.self_attn.o_proj.weight",
        "layers.0.mlp.up_proj.weight",
    ]
    assert "embed.weight" in names([plain])[0]
    assert "layers.0.self_attn.o_proj.bias" in names([plain])[0]
    assert plain["plain"] is True
    assert "plain" not in transformed
    assert "level" not in transformed


@pytest.mark.parametrize(
    ("match", "exclude", "expected"),
    [
        (("mlp",), (), 1),
        (r"(q|up)_proj$", (), 2),
        ("all-linear", (), 5),
        ("all-linear", ("lm_head", "router"), 3),
        ("all-linear", r"^lm_", 4),
        (["attn"], ["o_proj"], 1),
    ],
)
def test_match_and_exclude(match: Any, exclude: Any, expected: int) -> None:
    assert len(param_groups(language_model(), match=match, exclude=exclude)[0]["params"]) == expected


def test_every_trainable_parameter_is_in_one_group() -> None:
    model = language_model()
    model["layers"][0]["mlp"]["up_proj"].weight.requires_grad_(False)
    groups = param_groups(model)
    ours = sorted(name for group in names(groups) for name in group)
    assert ours == sorted(name for name, parameter in model.named_parameters() if parameter.requires_grad)


def test_shared_weights_come_once_and_a_tied_head_stays_plain() -> None:
    model = language_model()
    model["lm_head"].weight = model["embed"].weight
    model["layers"][0]["self_attn"]["o_proj"].weight = model["layers"][0]["self_attn"]["q_proj"].weight
    transformed, plain = names(param_groups(model, match="all-linear"))
    assert "embed.weight" in plain
    assert "lm_head.weight" not in transformed + plain
    assert transformed.count("layers.0.self_attn.q_proj.weight") == 1
    assert "layers.0.self_attn.o_proj.weight" not in transformed


def test_matched_modules_of_another_type_warn() -> None:
    model = nn.ModuleDict({"mlp": nn.Linear(4, 4), "mlp_mixer": nn.Conv2d(2, 4, 3)})
    with pytest.warns(
        UserWarning, match=r"mlp_mixer.weight is matched but not transformed: Conv2d is none of Linear$"
    ):
        transformed, plain = param_groups(model)
    several = nn.ModuleDict({**model, **{f"mlp_{i}": nn.Conv2d(2, 4, 3) for i in range(20)}})
    with pytest.warns(UserWarning, match=r"Conv2d is none of Linear; so it is with 20 more") as told:
        param_groups(several, report="off")
    assert len(told) == 1
    assert names([transformed, plain]) == [["mlp.weight"], ["mlp.bias", "mlp_mixer.weight", "mlp_mixer.bias"]]


def test_convolutions_when_asked(recwarn: pytest.WarningsRecorder) -> None:
    model = nn.ModuleDict({"mlp": nn.Linear(4, 4), "mlp_mixer": nn.Conv2d(2, 4, 3)})
    transformed, _ = param_groups(model, convolutions=True)
    assert names([transformed]) == [["mlp.weight", "mlp_mixer.weight"]]
    assert len(recwarn) == 0


def test_counts_are_reported(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    total = sum(1 for _ in language_model().parameters())
    expected = f"3 of {total} tensors transformed: 224 of 444 parameters (50.5%)"
    param_groups(language_model())
    assert capsys.readouterr().out == expected + "\n"
    with caplog.at_level(logging.INFO):
        param_groups(language_model(), report="log")
        param_groups(language_model(), report="off")
    assert caplog.messages == [expected]
    assert capsys.readouterr().out == ""


def test_nothing_selected_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"match=\('ffn',\) with exclude=\(\) selects no trainable weight"):
        param_groups(language_model(), match=("ffn",))
    with pytest.raises(ValueError, match="report must be 'print', 'log' or 'off', got 'loud'"):
        param_groups(language_model(), report="loud")  # type: ignore[arg-type]


def perceptron(*widths: int) -> nn.Sequential:
    layers = [nn.Linear(*pair) for pair in pairwise(widths)]
    return nn.Sequential(*(module for layer in layers for module in (nn.ReLU(), layer)))


@pytest.mark.parametrize(
    ("model", "chosen", "said"),
    [
        (perceptron(6, 5, 4), ["1.weight"], "1 of 4 tensors transformed: 30 of 59 parameters (50.8%); "),
        (
            perceptron(6, 5, 4, 3),
            ["1.weight", "3.weight"],
            "no layer is called attn or mlp: all but the last, '5'",
        ),
        (perceptron(6, 5), ["1.weight"], "no layer is called attn or mlp: the only one"),
    ],
)
def test_without_the_published_names_hidden_layers_are_transformed(
    capsys: pytest.CaptureFixture[str], model: nn.Module, chosen: list[str], said: str
) -> None:
    groups = param_groups(model)
    assert names(groups[:1]) == [chosen]
    assert groups[1]["plain"]
    assert said in capsys.readouterr().out


def test_one_layer_of_the_published_name_is_enough_for_the_published_rule() -> None:
    model = nn.ModuleDict({"up": nn.Linear(4, 4), "mlp": nn.Linear(4, 4), "head": nn.Linear(4, 2)})
    assert names(param_groups(model)[:1]) == [["mlp.weight"]]
    # Not the rule of a model without such names, whatever becomes of the layer.
    model["mlp"].weight.requires_grad_(False)
    with pytest.raises(ValueError, match=r"match='auto' with exclude=\(\) selects no trainable weight"):
        param_groups(model)
    with pytest.raises(ValueError, match="exclude='mlp' selects no trainable weight"):
        param_groups(model, exclude="mlp")


def test_of_hidden_layers_excluded_and_shared_ones_stay_plain() -> None:
    model = perceptron(4, 4, 4, 4)
    assert names(param_groups(model, exclude="^1$")[:1]) == [["3.weight"]]
    model[5] = model[1]
    assert names(param_groups(model)[:1]) == [["3.weight"]]


def test_of_a_model_of_convolutions_they_must_be_asked_for() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3))
    with pytest.raises(ValueError, match="convolutions must be True"):
        param_groups(model)
    assert names(param_groups(model, convolutions=True)[:1]) == [["0.weight"]]


def test_a_model_without_plain_parameters_gives_one_group() -> None:
    assert len(param_groups(nn.ModuleDict({"mlp": nn.Linear(4, 4, bias=False)}))) == 1


def test_the_optimizer_keeps_the_names() -> None:
    optimizer = GWTAdamW(GWTAdamW.select_parameters(language_model(), match=("mlp",)))
    assert optimizer.param_groups[0]["param_names"] == ["layers.0.mlp.up_proj.weight"]
    parameter = optimizer.param_groups[0]["params"][0]
    parameter.grad = torch.zeros(12, 8).to_sparse()
    with pytest.raises(ValueError, match=r"layers.0.mlp.up_proj.weight"):
        optimizer.step()
