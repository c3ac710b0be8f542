"""Checkpoints are whole or absent, hold data alone, and say what is wrong when something is.

Reached from here: ``checkpoint/bits.py``, ``checkpoint/model_state.py``, ``checkpoint/optimizer_state.py``,
``checkpoint/shard_file.py``, ``durable.py``, ``files.py``.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from graftwork import GraftworkError
from graftwork_trainer.checkpoint import (
    Checkpoints,
    DamagedCheckpointError,
    TrainingState,
    open_checkpoint,
    writing,
)
from graftwork_trainer.checkpoint.encoding import decode, encode
from graftwork_trainer.checkpoint.geometry import Piece
from graftwork_trainer.checkpoint.index import Index
from graftwork_trainer.procedure import Procedure, StepOutcome


class Trained(Procedure):
    """A model and an optimizer, stepped on fixed numbers."""

    def __init__(self, model, optimizer):
        self.model, self.optimizer, self.device = model, optimizer, torch.device("cpu")
        self.drawn = 0

    def state(self):
        return {"drawn": self.drawn}

    def restore(self, states):
        self.drawn = states[0]["drawn"]

    def start(self, step):
        return

    def step(self):
        def closure():
            self.optimizer.zero_grad()
            loss = self.model(torch.ones(5, 3).cumsum(0)).square().sum()
            loss.backward()
            return loss

        self.drawn += 1
        return StepOutcome(self.optimizer.step(closure))

    def evaluate(self):
        return {}


def fresh(seed=0, optimizer=lambda p: torch.optim.AdamW(p, lr=0.1), dtype=torch.float32):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).to(dtype)
    trained = Trained(model, optimizer(model.parameters()))
    return trained, TrainingState(trained)


def assert_same(found, wanted, name=""):
    assert type(found) is type(wanted), name
    if isinstance(wanted, torch.Tensor):
        assert found.dtype == wanted.dtype, name
        assert torch.equal(found, wanted), name
    elif isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), name
        for key in wanted:
            assert_same(found[key], wanted[key], f"{name}.{key}")
    elif isinstance(wanted, list | tuple):
        for index, pair in enumerate(zip(found, wanted, strict=True)):
            assert_same(*pair, f"{name}.{index}")
    else:
        assert found == wanted or (found != found and wanted != wanted), name


class LateState(torch.optim.Optimizer):
    """Somebody's optimizer: makes its state at its third step, as nested as can be, in float64."""

    def __init__(self, parameters, lr=0.1):
        super().__init__(parameters, {"lr": lr, "kind": "late", "worst": math.inf, "seen": 0})

    def step(self, closure=None):
        with torch.enable_grad():
            loss = closure()
        for group in self.param_groups:
            group["seen"] += 1
            for parameter in group["params"]:
                state = self.state[parameter]
                if group["seen"] < 3:
                    continue
                if not state:
                    state.update(
                        moment=torch.zeros_like(parameter, dtype=torch.float64),
                        history=[],
                        facts={"first": True, "scale": np.float32(0.5), 7: (None, -math.inf)},
                        signs=torch.zeros(parameter.shape, dtype=torch.int8),
                    )
                state["moment"].mul_(0.9).add_(parameter.grad.double())
                state["history"].append(state["moment"].mean())
                state["signs"].copy_(parameter.grad.sign())
                scale = float(state["facts"]["scale"]) * len(state["history"])
                parameter.data.sub_((group["lr"] * scale * state["moment"].sign()).to(parameter.dtype))
        return loss


OPTIMIZERS = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1),
    "adam-amsgrad": lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01),
    "sgd-momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3, history_size=2),
    "adafactor": lambda p: torch.optim.Adafactor(p),
    "rprop": lambda p: torch.optim.Rprop(p),
    "asgd": lambda p: torch.optim.ASGD(p),
    "radam": lambda p: torch.optim.RAdam(p),
    "adagrad": lambda p: torch.optim.Adagrad(p),
    "muon": lambda p: torch.optim.Muon([weight for weight in p if weight.ndim == 2]),
    "late": LateState,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("steps", [0, 1, 2, 4])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_loaded_is_what_was_saved_and_training_goes_on_to_the_same_bits(tmp_path, name, steps, dtype):
    checkpoints = Checkpoints(tmp_path)
    trained, state = fresh(optimizer=OPTIMIZERS[name], dtype=dtype)
    for _ in range(steps):
        trained.model(torch.ones(1, 3, dtype=dtype))
        step_in(trained, dtype)
    checkpoints.save(steps, state)
    other, other_state = fresh(seed=7, optimizer=OPTIMIZERS[name], dtype=dtype)
    checkpoint = checkpoints.newest()
    other_state.restore(checkpoint)
    assert checkpoint.step == other.drawn == steps
    for _ in range(3):
        assert_same(other.optimizer.state_dict(), trained.optimizer.state_dict())
        assert_same(list(other.model.parameters()), list(trained.model.parameters()))
        step_in(trained, dtype)
        step_in(other, dtype)


def step_in(trained, dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        trained.step()
    finally:
        torch.set_default_dtype(before)


def test_generators_go_on_where_they_were(tmp_path):
    _, state = fresh()
    random.seed(3)
    np.random.seed(4)
    random.gauss(0, 1)
    np.random.normal()
    path = Checkpoints(tmp_path).save(1, state)
    drawn = [torch.rand(2).tolist(), np.random.normal(), random.gauss(0, 1), random.random()]
    state.restore(open_checkpoint(path))
    assert [torch.rand(2).tolist(), np.random.normal(), random.gauss(0, 1), random.random()] == drawn


def test_any_dtype_layout_and_plain_value_survives(tmp_path):
    trained, _ = fresh()
    tensors = {
        "channels": torch.arange(48.0).view(1, 3, 4, 4).to(memory_format=torch.channels_last),
        "transposed": torch.arange(6).view(2, 3).T,
        "complex": torch.randn(3, 2, dtype=torch.complex128),
        "conjugated": torch.randn(3, dtype=torch.complex64).conj(),
        "eight_bits": torch.arange(4.0).to(torch.float8_e4m3fn),
        "none_at_all": torch.zeros(0, 3),
        "flags": torch.tensor([True, False]),
        "wide": torch.tensor([2**63 + 5], dtype=torch.uint64),
        "scalar": torch.tensor(1 / 3, dtype=torch.bfloat16),
        "expanded": torch.tensor([1.0, 2.0]).expand(3, 2),
    }
    plain = {"none": None, "numbers": [1, -0.1, math.nan, 1e300, 1j], "text": "ä\n", "dtype": torch.float16}
    trained.state = lambda: {"tensors": tensors, "plain": plain}
    found = {}
    trained.restore = lambda states: found.update(states[0])
    state = TrainingState(trained)
    path = Checkpoints(tmp_path).save(1, state)
    state.restore(open_checkpoint(path))
    assert_same(found, {"tensors": tensors, "plain": plain})


def test_the_order_in_memory_comes_back(tmp_path):
    trained, _ = fresh()
    tensors = {
        "channels": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "transposed": torch.randn(300, 64).T,
        "columns": torch.linalg.svd(torch.randn(6, 5)).U[:, :2],
        "whole": torch.randn(2, 3),
    }
    trained.state = lambda: tensors
    found = {}
    trained.restore = lambda states: found.update(states[0])
    state = TrainingState(trained)
    state.restore(open_checkpoint(Checkpoints(tmp_path).save(1, state)))
    assert_same(found, tensors)
    assert {name: tensor.stride() for name, tensor in found.items()} == {
        name: tensor.stride() for name, tensor in tensors.items()
    }
    assert torch.equal(found["transposed"].sum(0), tensors["transposed"].sum(0))


def test_the_sign_of_zero_comes_back(tmp_path):
    trained, state = fresh()
    torch.nn.init.constant_(trained.model[0].bias, -0.0)
    path = Checkpoints(tmp_path).save(1, state)
    torch.nn.init.constant_(trained.model[0].bias, 0.0)
    state.restore(open_checkpoint(path))
    assert bool(trained.model[0].bias.signbit().all())


def test_the_files_are_what_anybody_can_read(tmp_path):
    trained, state = fresh()
    path = Checkpoints(tmp_path).save(3, state, {"recipe": {"trainer": {"seed": 1}}})
    assert {file.name for file in path.iterdir()} == {"index.json", "shard-00000.safetensors"}
    tensors = load_file(path / "shard-00000.safetensors")
    assert torch.equal(tensors["model/0.weight"], trained.model[0].weight)
    content = json.loads((path / "index.json").read_text())["content"]
    assert content["step"] == 3
    assert content["values"]["recipe"] == {"trainer": {"seed": 1}}


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, lambda: 0, torch.Generator(), b"bytes", np.str_("text"), np.longdouble(1) / 3],
    ids=type,
)
def test_what_is_no_data_is_refused_by_name(tmp_path, value):
    trained, state = fresh()
    trained.step()
    trained.optimizer.state[trained.model[0].weight]["odd"] = value
    with pytest.raises(
        GraftworkError, match=r"optimizer/0\.weight/odd is a .*, which a checkpoint cannot hold"
    ):
        Checkpoints(tmp_path).save(1, state)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", [torch.zeros(3), torch.zeros(()), (1, torch.zeros(3))], ids=str)
def test_a_key_that_would_not_be_found_again_is_refused(key):
    with pytest.raises(GraftworkError, match=r"a key of x is a .*, which would not be found again"):
        encode({key: 1}, "x", {})


def test_a_sparse_buffer_is_refused_by_name(tmp_path):
    trained, state = fresh()
    trained.model.register_buffer("links", torch.eye(3).to_sparse())
    with pytest.raises(GraftworkError, match="model/links is a tensor that is sparse_coo"):
        Checkpoints(tmp_path).save(1, state)


def test_a_buffer_whose_elements_share_memory_is_kept(tmp_path):
    trained, _ = fresh()
    trained.model.register_buffer("positions", torch.arange(3).expand(2, 3))
    state = TrainingState(trained)
    saved = open_checkpoint(Checkpoints(tmp_path).save(1, state))
    trained.model.positions = torch.zeros(2, 3, dtype=torch.int64)
    state.restore(saved)
    assert trained.model.positions.tolist() == [[0, 1, 2], [0, 1, 2]]


def test_further_state_of_modules_comes_back(tmp_path):
    class Counts(nn.Linear):
        seen = 0

        def get_extra_state(self):
            return {"seen": self.seen}

        def set_extra_state(self, state):
            self.seen = state["seen"]

    torch.manual_seed(0)
    model = nn.Sequential(Counts(3, 2))
    model[0].seen = 5
    state = TrainingState(Trained(model, torch.optim.SGD(model.parameters())))
    path = Checkpoints(tmp_path).save(1, state)
    model[0].seen = 0
    state.restore(open_checkpoint(path))
    assert model[0].seen == 5


def test_old_checkpoints_and_leftovers_are_pruned(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    _, state = fresh()
    (tmp_path / "step-000099.partial").mkdir()
    for number in (1, 2, 3):
        checkpoints.save(number, state)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000002", "step-000003"]


def test_a_partial_checkpoint_is_never_read(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    _, state = fresh()
    checkpoints.save(5, state)
    checkpoints.save(6, state).rename(tmp_path / "step-000006.partial")
    assert checkpoints.newest().step == 5
    assert Checkpoints(tmp_path / "none").newest() is None


def test_killed_between_any_two_changes_on_the_disk_a_whole_checkpoint_is_there(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def dies_at(number):
        seen = itertools.count()

        def spoil(owner, name):
            real = getattr(owner, name)

            def maybe(*arguments, **named):
                if next(seen) == number:
                    raise Killed
                return real(*arguments, **named)

            monkeypatch.setattr(owner, name, maybe)

        for name in ("rename", "mkdir", "open"):
            spoil(Path, name)
        for name in ("fsync", "rmdir", "unlink"):
            spoil(os, name)

    ended = 0
    for number in range(60):
        folder = tmp_path / str(number)
        checkpoints = Checkpoints(folder, keep=1)
        trained, state = fresh()
        checkpoints.save(1, state)
        trained.step()
        weights = trained.model[0].weight.clone()
        with monkeypatch.context() as patched:
            monkeypatch_before, monkeypatch = monkeypatch, patched
            dies_at(number)
            try:
                checkpoints.save(1 + number % 2, state)  # over one of the same step, and beside an older one
                ended += 1
            except Killed:
                pass
            monkeypatch = monkeypatch_before
        found = Checkpoints(folder, keep=1).newest()
        assert found is not None
        assert found.step in (1, 1 + number % 2)
        if found.step == 2:
            assert torch.equal(found.tensor("model/0.weight"), weights)
    assert 0 < ended < 50


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_any_flipped_bit_is_a_refusal_that_names_the_file_and_the_way_back(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    trained, state = fresh()
    checkpoints.save(5, state)
    trained.step()
    path = checkpoints.save(10, state)
    draw = random.Random(0)
    for file in path.iterdir():
        whole = file.read_bytes()
        for bit in draw.sample(range(8 * len(whole)), 60):
            flip(file, bit)
            with pytest.raises(GraftworkError) as caught:
                checkpoints.newest()
            file.write_bytes(whole)
            message = str(caught.value)
            assert f"checkpoint {path}: {file.name} is damaged" in message
            assert message.endswith("remove that folder to go on from step 5")
            assert "\n" not in message
    assert checkpoints.newest().step == 10


@pytest.mark.parametrize("content", [b"", b"{}", b"{", b"[1]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_an_index_that_is_none_does_not_restart_from_nothing(tmp_path, content):
    checkpoints = Checkpoints(tmp_path)
    _, state = fresh()
    path = checkpoints.save(10, state)
    (path / "index.json").write_bytes(content)
    with pytest.raises(GraftworkError, match=r"index.json is damaged.*there is no earlier one"):
        checkpoints.newest()


@pytest.mark.parametrize("file", ["index.json", "shard-00000.safetensors"])
def test_a_missing_or_cut_file_is_named(tmp_path, file):
    checkpoints = Checkpoints(tmp_path)
    _, state = fresh()
    path = checkpoints.save(10, state)
    whole = (path / file).read_bytes()
    (path / file).write_bytes(whole[:-1])
    with pytest.raises(GraftworkError, match=file):
        checkpoints.newest()
    (path / file).unlink()
    with pytest.raises(GraftworkError, match=f"{file} is missing"):
        checkpoints.newest()


def test_a_forged_index_leads_to_no_file_outside_and_to_no_hole(tmp_path):
    _, state = fresh()
    path = Checkpoints(tmp_path).save(10, state)
    index = Index.from_bytes((path / "index.json").read_bytes())
    (facts,) = index.files.values()

    def forged(**changes):
        fields = {name: getattr(index, name) for name in ("step", "processes", "files", "tensors", "values")}
        (path / "index.json").write_bytes(Index(**{**fields, **changes}).to_bytes())
        return pytest.raises(GraftworkError)

    with forged(files={"../../secret.safetensors": facts}) as caught:
        open_checkpoint(path)
    assert "is no file of a checkpoint" in str(caught.value)
    tensors = dict(index.tensors)
    name, stored = next(iter(tensors.items()))
    tensors[name] = type(stored)(stored.dtype, (*stored.shape[:-1], 99), stored.sharded, stored.pieces)
    with forged(tensors=tensors) as caught:
        open_checkpoint(path)
    assert f"does not say where all of {name!r} lies" in str(caught.value)
    with forged(values={**index.values, "progression": {"$os.system": "touch owned"}}) as caught:
        open_checkpoint(path).part("progression")
    assert "cannot be read" in str(caught.value)


@pytest.mark.parametrize("kind", ["dtype", "shape", "absent", "huge"])
def test_a_forged_index_that_tells_of_other_tensors_than_the_files_hold_is_refused(tmp_path, kind):
    _, state = fresh()
    path = Checkpoints(tmp_path).save(1, state)
    index = Index.from_bytes((path / "index.json").read_bytes())
    tensors = dict(index.tensors)
    weight = tensors["model/0.weight"]
    shape = {"shape": (3, 4), "huge": (10**9, 10**9)}.get(kind, weight.shape)
    told = dataclasses.replace(
        weight,
        dtype="float64" if kind == "dtype" else weight.dtype,
        shape=shape,
        pieces={file: Piece.whole(shape) for file in weight.pieces},
    )
    tensors["model/absent" if kind == "absent" else "model/0.weight"] = told
    (path / "index.json").write_bytes(dataclasses.replace(index, tensors=tensors).to_bytes())
    with pytest.raises(DamagedCheckpointError, match=r"shard-00000\.safetensors (holds|does not hold)"):
        open_checkpoint(path)


@pytest.mark.parametrize("part", ["model", "optimizer", "processes"])
@pytest.mark.parametrize("value", [None, 3, [], {}], ids=str)
def test_a_forged_index_whose_values_are_none_of_a_training_is_one_sentence(tmp_path, part, value):
    _, state = fresh()
    path = Checkpoints(tmp_path).save(1, state)
    index = Index.from_bytes((path / "index.json").read_bytes())
    forged = dataclasses.replace(index, values={**index.values, part: value})
    (path / "index.json").write_bytes(forged.to_bytes())
    with pytest.raises(GraftworkError, match=r"checkpoint .*step-000001: "):
        state.restore(open_checkpoint(path))


def test_a_checkpoint_of_another_model_or_optimizer_is_refused_by_name(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    trained, state = fresh()
    trained.step()
    path = checkpoints.save(1, state)

    def into(model, optimizer=torch.optim.AdamW, parameters=None):
        torch.manual_seed(1)
        built = Trained(model, optimizer(model.parameters() if parameters is None else parameters(model)))
        with pytest.raises(GraftworkError) as caught:
            TrainingState(built).restore(open_checkpoint(path))
        assert "remove" not in str(caught.value)
        return str(caught.value)

    wider = into(nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2)))
    assert (
        "'0.weight' is torch.float32 of shape (4, 3) there and torch.float32 of shape (8, 3) in the model"
        in wider
    )
    assert "'2.weight' is in the model and not there" in into(
        nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(2, 2))
    )
    assert "'1.weight' is there and not in the model" in into(nn.Sequential(nn.Linear(3, 4)))
    assert "torch.bfloat16" in into(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).bfloat16())
    same = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    fewer = into(same, parameters=lambda model: model[0].parameters())
    assert "'1.weight' is a weight that this one does not train" in fewer


def test_parameters_may_be_grouped_anew_unless_training_made_their_groups_different(tmp_path):
    def model():
        return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))

    def in_two(model):
        return [{"params": list(part.parameters()), "weight_decay": 0.1 * i} for i, part in enumerate(model)]

    trained = Trained(one := model(), LateState(in_two(one)))
    state = TrainingState(trained)
    for _ in range(4):
        trained.step()
    path = Checkpoints(tmp_path).save(4, state)
    other = Trained(two := model(), LateState(two.parameters()))
    TrainingState(other).restore(open_checkpoint(path))
    assert other.optimizer.param_groups[0]["seen"] == 4
    trained.optimizer.param_groups[1]["seen"] = 9
    path = Checkpoints(tmp_path).save(5, state)
    with pytest.raises(GraftworkError, match="option 'seen' training made different"):
        TrainingState(other).restore(open_checkpoint(path))


def test_an_optimizer_that_does_not_take_its_state_up_is_refused_by_name(tmp_path):
    class Forgetful(torch.optim.SGD):
        def load_state_dict(self, state_dict):
            super().load_state_dict({**state_dict, "state": {}})

    trained, state = fresh(optimizer=lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9))
    trained.step()
    path = Checkpoints(tmp_path).save(1, state)
    _, other = fresh(optimizer=lambda p: Forgetful(p, lr=0.01, momentum=0.9))
    with pytest.raises(GraftworkError, match=r"'0.weight' of the optimizer, and Forgetful.load_state_dict"):
        other.restore(open_checkpoint(path))


class Lookahead(torch.optim.Optimizer):
    """A wrapper as many are written: with slow weights beside the groups and the state of another optimizer.

    Args:
        parameters: to train.
        loads: what of it a checkpoint brings back.
    """

    def __init__(self, parameters, loads=("slow", "groups")):
        self.inner = torch.optim.AdamW(parameters, lr=0.1)
        self.param_groups, self.state, self.defaults = self.inner.param_groups, self.inner.state, {}
        self.loads, self.slow = loads, None

    def step(self, closure=None):
        loss = self.inner.step(closure)
        weights = [weight for group in self.inner.param_groups for weight in group["params"]]
        if self.slow is None:
            self.slow = [weight.detach().clone() for weight in weights]
        for slow, weight in zip(self.slow, weights, strict=True):
            weight.data.copy_(slow.lerp_(weight.detach(), 0.5))
        return loss

    def zero_grad(self, set_to_none=True):
        self.inner.zero_grad(set_to_none)

    def state_dict(self):
        return {**self.inner.state_dict(), "slow": self.slow}

    def load_state_dict(self, state_dict):
        self.inner.load_state_dict({name: state_dict[name] for name in ("state", "param_groups")})
        if "groups" in self.loads:
            self.param_groups, self.state = self.inner.param_groups, self.inner.state
        if "slow" in self.loads:
            self.slow = state_dict["slow"]


def test_a_wrapper_with_state_of_its_own_goes_on_to_the_same_bits(tmp_path):
    trained, state = fresh(optimizer=Lookahead)
    trained.step()
    path = Checkpoints(tmp_path).save(1, state)
    other, other_state = fresh(seed=7, optimizer=Lookahead)
    other_state.restore(open_checkpoint(path))
    for one in (trained, other):
        one.step()
    assert_same(list(other.model.parameters()), list(trained.model.parameters()))


@pytest.mark.parametrize(
    ("loads", "sentence"),
    [
        (("groups",), r"holds 'slow' of the optimizer, and Lookahead\.load_state_dict does not take it up"),
        (("slow",), r"Lookahead\.load_state_dict leaves its param_groups behind, and with them every"),
    ],
)
def test_a_wrapper_that_forgets_something_is_refused_by_name(tmp_path, loads, sentence):
    trained, state = fresh(optimizer=Lookahead)
    trained.step()
    path = Checkpoints(tmp_path).save(1, state)
    _, other = fresh(optimizer=lambda p: Lookahead(p, loads))
    with pytest.raises(GraftworkError, match=sentence):
        other.restore(open_checkpoint(path))


def test_a_layer_that_gets_its_shape_from_the_first_batch_goes_on_to_the_same_bits(tmp_path):
    def lazy():
        model = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2))
        trained = Trained(model, torch.optim.AdamW(model.parameters(), lr=0.1))
        return trained, TrainingState(trained)

    trained, state = lazy()
    trained.step()
    path = Checkpoints(tmp_path).save(1, state)
    other, other_state = lazy()
    other_state.restore(open_checkpoint(path))
    for one in (trained, other):
        one.step()
    assert_same(list(other.model.parameters()), list(trained.model.parameters()))


def test_options_that_training_changed_are_kept_and_those_that_the_recipe_changed_are_new(tmp_path):
    trained, state = fresh(optimizer=LateState)
    trained.step()
    path = Checkpoints(tmp_path).save(1, state)
    torch.manual_seed(0)
    other = Trained(trained.model, LateState(trained.model.parameters()))
    other.optimizer.param_groups[0]["kind"] = "another"
    TrainingState(other).restore(open_checkpoint(path))
    (group,) = other.optimizer.param_groups
    assert (group["seen"], group["kind"]) == (1, "another")


def test_state_that_is_not_a_number_is_never_written(tmp_path):
    trained, state = fresh()
    trained.step()
    Checkpoints(tmp_path, keep=1).save(1, state)
    trained.optimizer.state[trained.model[0].weight]["exp_avg"][0, 0] = math.nan
    trained.optimizer.state[trained.model[1].bias]["largest"] = torch.tensor([math.inf])
    with pytest.raises(GraftworkError, match=r"optimizer/0\.weight/exp_avg holds what is not a number"):
        Checkpoints(tmp_path, keep=1).save(2, state)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


def test_state_that_weights_share_is_refused_by_both_names(tmp_path):
    trained, state = fresh()
    trained.step()
    shared = torch.zeros(3)
    for parameter in trained.model[0].parameters():
        trained.optimizer.state[parameter]["shared"] = shared
    with pytest.raises(GraftworkError, match=r"0\.weight/shared and optimizer/0\.bias/shared are one tensor"):
        Checkpoints(tmp_path).save(1, state)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (torch.float32, math.inf),
        (torch.bfloat16, math.nan),
        (torch.complex64, complex(0, math.nan)),
        (torch.complex64, complex(-math.inf, 0)),
    ],
    ids=str,
)
def test_weights_that_are_not_finite_are_never_written(tmp_path, dtype, value):
    checkpoints = Checkpoints(tmp_path, keep=1)
    trained, state = fresh(dtype=dtype)
    checkpoints.save(1, state)
    with torch.no_grad():
        trained.model[1].bias[0] = value
    with pytest.raises(GraftworkError, match=r"weights of '1.bias' are not finite; the checkpoint of step 1"):
        checkpoints.save(2, state)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


def test_a_failed_write_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    _, state = fresh()
    checkpoints.save(1, state)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "write_shard", full)
    with pytest.raises(GraftworkError, match="the disk is full; the checkpoint of step 1 is whole"):
        checkpoints.save(2, state)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]
    assert checkpoints.newest().step == 1


def test_keys_that_look_like_ours_are_kept_apart():
    tricky = {"$tensor": "no tensor", 3: {"$ranks": [1]}}
    taken: dict[str, torch.Tensor] = {}
    assert decode(json.loads(json.dumps(encode(tricky, "x", taken))), taken.__getitem__) == tricky
