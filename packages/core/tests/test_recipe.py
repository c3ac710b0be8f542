"""Recipes: all mistakes at once, each with its file, key, what was expected and what was given.

Reached from here: ``resolution.py``.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib

import pytest

from graftwork import (
    Choice,
    GraftworkError,
    RecipeError,
    UnknownNameError,
    build_recipe,
    load_recipe,
    parse_set,
)
from graftwork.description import Description, describe

PLUGIN = """
from typing import Annotated, Literal
from graftwork import Choice, Shorthand, Supplies

class Task:
    def __init__(self, *, model: Annotated[Choice, Supplies("vocab_size")], data: str = "prose",
                 batch_size: int = 8):
        self.model, self.data, self.batch_size = model, data, batch_size
    def build_model(self): return self.model(vocab_size=10)
    def batches(self, split, *, rank, world_size, seed): ...
    def loss(self, model, batch): ...
    def evaluate(self, model): ...

class Converting(Task):
    def __init__(self, *, model: Annotated[Choice, Supplies("vocab_size")],
                 attention: Annotated[
                     Choice | None, Supplies("dim", "heads", "max_len", "layer_index")] = None):
        super().__init__(model=model)
        self.attention = attention

class Tuning(Task):
    def __init__(self, *, model: Annotated[
            Choice | str, Supplies("vocab_size"), Shorthand("loaded", "weights")] = "small"):
        super().__init__(model=model)

class Trainer:
    def __init__(self, *, optimizer: Choice, steps: int = 100, seed: int = 0,
                 schedule: Literal["cosine", "linear"] = "cosine", patience: int | None = 3,
                 note: str | None = "x"):
        if steps < 1: raise ValueError(f"steps must be at least 1, got {steps}")
        self.optimizer, self.steps = optimizer, steps
    def fit(self, task, recipe, run): ...

class TwoLevelTrainer:
    def __init__(self, *, upper_optimizer: Annotated[Choice, "optimizer"],
                 lower_optimizer: Annotated[Choice, "optimizer"] = "sgd"):
        self.upper, self.lower = upper_optimizer, lower_optimizer
    def fit(self, task, recipe, run): ...

class SGD:
    def __init__(self, params, lr: float = 0.1, momentum: float = 0.0): self.params, self.lr = params, lr
    def step(self): ...
    def zero_grad(self): ...
    def state_dict(self): ...
    def load_state_dict(self, state): ...

class Adam(SGD):
    def __init__(self, params, lr: float = 0.001, betas: tuple[float, float] = (0.9, 0.999)):
        super().__init__(params, lr); self.betas = betas
    @staticmethod
    def select_parameters(model, match: list[str] = ["attn"]): return [(model, match)]

class Softmax:
    capabilities = None
    def __init__(self, dim: int, heads: int, max_len: int, *, layer_index: int = 0, landmarks: int = 1):
        self.sizes = (dim, heads, max_len, layer_index, landmarks)
    def forward(self, x, mask=None): return x

class Layered(Softmax):
    def __init__(self, dim: int, heads: int, max_len: int, *, layer_index: int):
        self.sizes = (dim, heads, max_len, layer_index)

class Windowed(Softmax):
    def __init__(self, dim: int, heads: int): ...

def pictures(image_shape: list[int], classes: int): return (image_shape, classes)

def named(vocab_size: int = 5, name: str = "resnet", sizes: list[int | None] = [1]):
    return (vocab_size, name, sizes)

def loaded(vocab_size: int, weights: str = "large", fresh: bool = False):
    return vocab_size, weights, fresh

def mixer(vocab_size: int, attention: Choice): return attention(8, 2, 16, layer_index=1).sizes

def network(vocab_size: int, width: int = 16, attention: Choice | None = None):
    return {"vocab_size": vocab_size, "width": width, "attention": attention and attention(8, 2, 16).sizes}

@hookimpl
def graftwork_components():
    here = "graftwork_kit"
    yield Component(Kind.TASK, "lm", f"{here}:Task", "a task")
    yield Component(Kind.TASK, "converting", f"{here}:Converting", "a task that changes attention")
    yield Component(Kind.TASK, "tuning", f"{here}:Tuning", "a task whose model has weights")
    yield Component(Kind.TRAINER, "standard", f"{here}:Trainer", "a trainer")
    yield Component(Kind.TRAINER, "two-level", f"{here}:TwoLevelTrainer", "a trainer")
    yield Component(Kind.OPTIMIZER, "sgd", f"{here}:SGD", "an optimizer")
    yield Component(Kind.OPTIMIZER, "adam", f"{here}:Adam", "an optimizer")
    yield Component(Kind.MODEL, "network", f"{here}:network", "a model")
    yield Component(Kind.MODEL, "pictures", f"{here}:pictures", "another task's model")
    yield Component(Kind.MODEL, "loaded", f"{here}:loaded", "a model of weights")
    yield Component(Kind.MODEL, "named", f"{here}:named", "has a name of its own")
    yield Component(Kind.MODEL, "mixer", f"{here}:mixer", "a model of any attention")
    yield Component(Kind.TRAINER, "broken", f"{here}_gone:Trainer", "cannot be imported")
    yield Component(Kind.ATTENTION, "softmax", f"{here}:Softmax", "an attention")
    yield Component(Kind.ATTENTION, "layered", f"{here}:Layered", "an attention that must know its layer")
    yield Component(Kind.ATTENTION, "windowed", f"{here}:Windowed", "an attention of any length")
"""
RECIPE = """
description = "for a test"
[task]
name = "lm"
[model]
name = "network"
width = 32
[optimizer]
name = "adam"
lr = 1
[optimizer.for.sgd]
lr = 0.5
momentum = 0.9
[trainer]
steps = 10
"""


@pytest.fixture
def registry(add_plugin, discover):
    add_plugin("kit", PLUGIN)
    return discover()


@pytest.fixture
def resolve(registry, tmp_path):
    def run(text=RECIPE, *settings):
        path = tmp_path / "given.toml"
        path.write_text(text)
        return load_recipe(str(path), [parse_set(s) for s in settings], registry=registry).resolve(registry)

    return run


def mistakes(resolve, text, *settings):
    with pytest.raises(RecipeError) as caught:
        resolve(text, *settings)
    assert caught.value.source.endswith("given.toml")
    return list(caught.value.mistakes)


def test_a_recipe_says_what_to_compare(registry, tmp_path):
    path = tmp_path / "given.toml"
    path.write_text('compare = ["optimizer.name=sgd,adam"]\n' + RECIPE)
    recipe = load_recipe(str(path), registry=registry)
    assert recipe.compare == ("optimizer.name=sgd,adam",)
    assert "compare" not in recipe.resolve(registry).to_toml()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("3", "compare: must be a list of texts like 'optimizer.name=adamw,sgd', got 3"),
        ('["optimizer.name=sgd", 1]', "compare: must be a list of texts like"),
        ('["optimizer.name"]', "compare takes SECTION.KEY=VALUE,VALUE, like"),
        ('["name=a,b"]', "compare takes SECTION.KEY=VALUE,VALUE, like"),
    ],
)
def test_what_to_compare_is_checked_with_the_rest(resolve, given, sentence):
    text = RECIPE.replace('name = "lm"', 'name = "nobody"')
    first, second = mistakes(resolve, f"compare = {given}\n{text}")
    assert first.startswith(sentence)
    assert second.startswith("task.name: ")


def test_a_recipe_becomes_choices_that_build(resolve):
    resolved = resolve()
    trainer, task = resolved.trainer(), resolved.task()
    assert (trainer.steps, task.data) == (10, "prose")
    assert task.build_model() == {"vocab_size": 10, "width": 32, "attention": None}
    assert isinstance(trainer.optimizer, Choice)
    assert trainer.optimizer(["w"]).lr == 1.0


def test_an_optimizer_selects_its_own_parameters(resolve):
    optimizer = resolve(RECIPE, 'optimizer.match=["mlp"]').trainer().optimizer.for_model("the model")
    assert optimizer.params == [("the model", ["mlp"])]
    assert optimizer.betas == (0.9, 0.999)


def test_the_resolved_recipe_leaves_nothing_to_defaults_and_resolves_to_itself(resolve):
    text = resolve().to_toml()
    written = tomllib.loads(text)
    assert written["trainer"] == {
        "name": "standard",
        "steps": 10,
        "seed": 0,
        "schedule": "cosine",
        "patience": 3,
        "note": "x",
    }
    assert written["optimizer"] == {"name": "adam", "lr": 1.0, "betas": [0.9, 0.999], "match": ["attn"]}
    assert resolve(text).to_toml() == text


def test_an_explicit_none_survives_being_written(resolve):
    settings = ("trainer.patience=none", "trainer.note=none")
    resolved = resolve(RECIPE, *settings)
    assert resolved.trainer.options["patience"] is None
    assert resolved.trainer.options["note"] is None
    again = resolve(resolved.to_toml())
    assert again.trainer.options["patience"] is None
    assert again.trainer.options["note"] is None
    assert again.to_toml() == resolved.to_toml()


def test_named_tables_apply_to_the_chosen_name_and_the_command_line_wins(resolve):
    sgd = resolve(RECIPE, "optimizer.name=sgd").sections["optimizer"]
    assert (sgd["lr"], sgd["momentum"]) == (0.5, 0.9)
    assert resolve(RECIPE, "optimizer.name=sgd", "optimizer.lr=7").sections["optimizer"]["lr"] == 7
    assert "momentum" not in resolve().sections["optimizer"]


def test_options_for_a_name_are_checked_whether_or_not_it_is_chosen(resolve):
    text = RECIPE.replace("lr = 0.5\nmomentum = 0.9", 'momentumm = 0.9\nlr = "fast"')
    told = [
        "optimizer.lr ([optimizer.for.sgd]): expected float, got 'fast' (string)",
        "optimizer.momentumm ([optimizer.for.sgd]): optimizer/sgd has no option 'momentumm', did you mean "
        "'momentum'?",
    ]
    for settings in ((), ("optimizer.name=sgd",)):
        assert sorted(mistakes(resolve, text, *settings)) == told


def test_what_takes_part_is_told_with_the_mistakes(resolve):
    with pytest.raises(RecipeError) as caught:
        resolve(RECIPE.replace("width = 32", "wdth = 32"), "trainer.steps=-1")
    assert [choice.name for choice in caught.value.choices] == ["lm", "standard"]


def test_all_mistakes_are_reported_at_once(resolve):
    found = mistakes(
        resolve,
        RECIPE.replace("width = 32", "wdth = 32\nvocab_size = 5").replace(
            "lr = 1\n", 'lr = "fast"\nbetas = [0.9]\n'
        ),
        "trainer.schedule=cosin",
    )
    assert [line.split(":")[0] for line in sorted(found)] == [
        "model.vocab_size",
        "model.wdth",
        "optimizer.betas",
        "optimizer.lr",
        "trainer.schedule (--set trainer.schedule=cosin)",
    ]
    text = "\n".join(found)
    assert "model/network has no option 'wdth', did you mean 'width'?" in text
    assert "optimizer.lr: expected float, got 'fast' (string)" in text
    assert "optimizer.betas: expected [float, float], got [0.9] (list)" in text
    assert "expected 'cosine' or 'linear', got 'cosin' (string)" in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "lm"', 'name = "ml"', "task.name: no task called 'ml'"),
        ('[task]\nname = "lm"', "", "[task]: is missing"),
        ('[model]\nname = "network"\nwidth = 32', "", "[model]: is missing; [task] needs a model"),
        ('name = "adam"', "", "optimizer.name: is missing"),
        ('[optimizer]\nname = "adam"', "[optimiser]", "optimiser.name: is missing; it says which"),
        ('name = "adam"', "name = 3", "optimizer.name: expected string, got 3"),
        ("[trainer]", '[optimiser]\nname = "x"\n[trainer]', "did you mean 'optimizer'?"),
        ("[trainer]", "[[trainer]]", "trainer: must be one section, write [trainer] for [[trainer]]"),
        (
            'name = "adam"',
            'nmae = "adam"',
            "optimizer.name: is missing; it says which optimizer to use; did you",
        ),
        ('description = "for a test"', "description = 3", "description: must be text, got 3"),
        ('description = "for a test"', '"" = 1', '"": must be a section'),
        ('description = "for a test"', "when = 2024-01-01", "got 2024-01-01"),
        ("steps = 10", '"a b" = 1', "trainer.\"a b\": trainer/standard has no option 'a b'"),
        ("steps = 10", "steps = {a = 1}", "trainer.steps: expected whole number, got {'a': 1} (table)"),
        ("steps = 10", "steps = 9223372036854775808", "(whole number of more than 64 bits)"),
        ("steps = 10", "steps = 1.5", "trainer.steps: expected whole number, got 1.5 (float)"),
        ("lr = 1\n", "lr = inf\n", "optimizer.lr: must be finite, got inf"),
        ("lr = 1\n", "lr = -nan\n", "optimizer.lr: must be finite, got nan"),
        ("lr = 1\n", "betas = [0.9, nan]\n", "optimizer.betas: must be finite, got [0.9, nan]"),
        ("lr = 1\n", f"lr = 1{400 * '0'}\n", "optimizer.lr: expected float, got 1000"),
        ('name = "network"', "name = []", "model.name: expected string, got []"),
        (
            "[optimizer.for.sgd]",
            "[optimizer.for.sdg]",
            "optimizer.for.sdg: no optimizer called 'sdg'",
        ),
        ("[optimizer.for.sgd]\nlr = 0.5\nmomentum = 0.9", "for = 3", "optimizer.for: must hold tables"),
        ("[trainer]", '[attention]\nname = "softmax"\n[optimizer.x]\n[trainer]', "has no option 'x'"),
        ("[task]", "task = 3\n[model2]", "task: must be a section"),
    ],
)
def test_structural_mistakes(resolve, old, new, message):
    assert old in RECIPE
    assert any(message in line for line in mistakes(resolve, RECIPE.replace(old, new)))


def test_an_option_for_another_name_is_pointed_to_a_named_table(resolve):
    text = RECIPE.replace("[optimizer.for.sgd]", "betas = [0.9, 0.9]\n[optimizer.for.sgd]")
    (line,) = mistakes(resolve, text, "optimizer.name=sgd")
    assert "optimizer/sgd has no option 'betas'" in line
    assert "write it under [optimizer.for.NAME]" in line


def test_references_nest_and_sections_can_have_names_of_their_own(resolve):
    nested = resolve(RECIPE, "model.attention=softmax", "model.attention.landmarks=4")
    assert nested.task().build_model()["attention"] == (8, 2, 16, 0, 4)
    assert nested.sections["model"]["attention"] == {"name": "softmax", "landmarks": 4}
    top = resolve(RECIPE + '[attention]\nname = "softmax"\nlandmarks = 2\n')
    assert top.task().build_model()["attention"] == (8, 2, 16, 0, 2)
    two = resolve(
        RECIPE.replace("[optimizer", "[upper_optimizer").replace("steps = 10", ""), "trainer.name=two-level"
    ).trainer()
    assert (two.upper.name, two.lower.name) == ("adam", "sgd")


def test_a_task_may_take_an_attention_and_supply_its_sizes(resolve):
    converting = RECIPE.replace('"lm"', '"converting"')
    assert resolve(converting).task().attention is None
    for name, sizes in (("softmax", (8, 2, 16, 3, 1)), ("layered", (8, 2, 16, 3))):
        resolved = resolve(converting + f'[attention]\nname = "{name}"\n')
        assert resolved.task().attention(8, 2, 16, layer_index=3).sizes == sizes
        assert resolved.sections["attention"]["name"] == name
    (mistake,) = mistakes(resolve, converting + '[attention]\nname = "windowed"\n')
    assert mistake == (
        "attention.name: attention/windowed takes no max_len and no layer_index, which task/converting "
        "supplies; it wants dim and heads"
    )


TUNING = RECIPE.replace('name = "lm"', 'name = "tuning"').replace(
    '[model]\nname = "network"\nwidth = 32\n', ""
)


@pytest.mark.parametrize(
    ("text", "settings", "built"),
    [
        (TUNING, (), (10, "small", False)),
        (TUNING, ("task.model=a/folder",), (10, "a/folder", False)),
        (TUNING, ("task.model=7",), (10, "7", False)),
        (TUNING, ('task.model={name = "loaded", fresh = true}',), (10, "large", True)),
        (TUNING, ("model.name=loaded", "model.weights=x"), (10, "x", False)),
        (TUNING, ("model.name=network",), {"vocab_size": 10, "width": 16, "attention": None}),
    ],
)
def test_a_text_may_stand_for_a_component_with_an_option(resolve, registry, text, settings, built):
    resolved = resolve(text, *settings)
    assert resolved.task().build_model() == built
    written = resolved.to_toml()
    again = build_recipe(tomllib.loads(written), registry=registry).resolve(registry)
    assert again.to_toml() == written
    assert again.task().build_model() == built


def test_what_a_text_stands_for_is_told(resolve, registry):
    assert mistakes(resolve, TUNING.replace('"tuning"', '"tuning"\nmodel = [1]')) == [
        "task.model.weights: expected string, got [1] (list)",
    ]
    assert mistakes(resolve, TUNING, "model.name=pictures")[0].startswith(
        "model.name (--set model.name=pictures): model/pictures takes no vocab_size, which task/tuning "
    )
    described = describe(registry.find("task/tuning"), registry)
    (model,) = (option for option in described.options if option.name == "model")
    assert model.type_text == "weights of the model 'loaded', or the section [model]"
    assert Description.from_data(json.loads(json.dumps(described.to_data()))) == described


def test_a_refused_value_names_the_component(resolve):
    resolved = resolve(RECIPE, "trainer.steps=0")
    with pytest.raises(GraftworkError, match="trainer/standard: steps must be at least 1, got 0"):
        resolved.trainer()


def test_a_component_that_leaves_is_named(resolve, monkeypatch):
    resolved = resolve(RECIPE)
    monkeypatch.setattr(resolved.trainer.target, "__init__", lambda self, **options: sys.exit(0))
    with pytest.raises(GraftworkError, match=r"^trainer/standard: SystemExit: 0$"):
        resolved.trainer()


@pytest.mark.parametrize("name", ["kit:sgd", "optimizer/kit:sgd"])
def test_a_full_name_is_kept_and_finds_its_named_table(resolve, name):
    section = resolve(RECIPE, f"optimizer.name={name}").sections["optimizer"]
    assert (section["name"], section["lr"], section["momentum"]) == (name, 0.5, 0.9)


def test_files_that_cannot_be_read(registry, tmp_path):
    with pytest.raises(GraftworkError, match=r"nowhere.toml: no such file"):
        load_recipe(str(tmp_path / "nowhere.toml"), registry=registry)
    bad = tmp_path / "bad.toml"
    bad.write_text("[task\n")
    with pytest.raises(GraftworkError, match=r"bad.toml: is not TOML: .*line 1"):
        load_recipe(str(bad), registry=registry)
    bad.write_bytes(b"\xff")
    with pytest.raises(GraftworkError, match="is not UTF-8 text"):
        load_recipe(str(bad), registry=registry)
    with pytest.raises(UnknownNameError, match="no recipe called 'lm'"):
        load_recipe("lm", registry=registry)


def test_a_registered_recipe_is_found_without_importing_its_package(add_plugin, discover, plugins_folder):
    folder = plugins_folder / "package_with_recipe"
    (folder / "recipes").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    (folder / "recipes" / "small.toml").write_text(RECIPE)
    add_plugin(
        "kit",
        PLUGIN + "    yield Component(Kind.RECIPE, 'small', 'package_with_recipe:recipes/small.toml', '')",
    )
    registry = discover()
    assert load_recipe("small", registry=registry).sections["model"]["width"] == 32


def test_a_model_that_takes_other_facts_is_refused_before_anything_is_built(resolve):
    text = RECIPE.replace("width = 32\n", "")
    assert mistakes(resolve, text, "model.name=pictures") == [
        "model.name (--set model.name=pictures): model/pictures takes no vocab_size, which task/lm supplies; "
        "it wants image_shape and classes"
    ]


def test_a_required_component_of_a_model_can_be_configured(resolve):
    text = RECIPE.replace("width = 32\n", "")
    settings = ["model.name=mixer", "model.attention.name=softmax", "model.attention.landmarks=4"]
    assert resolve(text, *settings).task().build_model() == (8, 2, 16, 1, 4)
    assert mistakes(resolve, text, "model.name=mixer") == [
        "[attention]: is missing; [model] needs an attention: [attention] with name = 'layered' or 'softmax' "
        "or 'windowed'"
    ]


def test_no_section_is_called_unused_where_its_trainer_failed_to_load(resolve):
    (mistake,) = mistakes(resolve, RECIPE, "trainer.name=broken", "trainer.steps=3")
    assert "cannot be imported" in mistake


def test_what_is_written_is_what_is_trained(resolve, registry):
    text = RECIPE.replace("width = 32\n", "")
    resolved = resolve(text, "model.name=named", 'model.sizes=["none", 3]')
    assert resolved.task().build_model() == (10, "resnet", [None, 3])
    # Neither the parameter called name nor the fact that the task supplies is an option.
    assert resolved.sections["model"] == {"name": "named", "sizes": ["none", 3]}
    again = build_recipe(resolved.sections, registry=registry).resolve(registry)
    assert again.task().build_model() == (10, "resnet", [None, 3])
    assert mistakes(resolve, text, "model.name=named", "model.vocab_size=7") == [
        "model.vocab_size (--set model.vocab_size=7): task/lm supplies it: leave it out"
    ]


EIGHT = """
description = 8
[task]
name = "ml"
batch_size = "many"
[modle]
name = "network"
widht = 3
[optimiser]
name = "Adam"
lr = nan
[trainer]
name = "standrad"
stpes = 1
"""


def test_one_mistake_hides_no_other(resolve):
    found = mistakes(resolve, EIGHT.replace('"ml"', '"Lm"'), "trainer.patience=soon")
    assert {line.partition(":")[0] for line in found} == {
        "description",
        "task.name",
        "trainer.name",
        "[modle]",
        "[optimiser]",
        "modle.widht",
        "task.batch_size",
        "optimiser.name",
        "optimiser.lr",
        "trainer.stpes",
        "trainer.patience (--set trainer.patience=soon)",
    }
    assert len(found) == 11


def test_what_an_unknown_task_takes_is_checked_by_the_names_of_sections(resolve):
    found = mistakes(resolve, EIGHT.replace('"ml"', '"nobody"').replace("modle", "model"))
    assert "model.widht: model/network has no option 'widht', did you mean 'width'?" in found
    # What it may use itself is nobody's mistake.
    assert not any("uppermost" in line for line in mistakes(resolve, f"{EIGHT}\n[uppermost]\nname = 'x'"))


def test_the_answer_to_every_mistake_is_taken(resolve):
    """Each answer is followed as it says, and does not lead to the next."""
    text = RECIPE.replace("[optimizer.for.sgd]\nlr = 0.5\nmomentum = 0.9\n", "")
    steps = 0
    for old, new in (
        ('name = "lm"', 'name = "LM"'),
        ("[model]", "[modell]"),
        ("[optimizer]", "[optimiser]"),
        ("[trainer]", "[trianer]"),
        ('name = "adam"', 'name = "Adam"'),
        ("width = 32", 'wdth = "32"'),
        ("lr = 1", 'lr = ".5"'),
        ("lr = 1", 'betas = "0.9,.95"'),
        ("lr = 1", 'match = "attn"'),
        ("lr = 1", "match = 12"),
        ("lr = 1", "betas = 0.9"),
        ("steps = 10", 'schedule = "Cosine"'),
        ("steps = 10", "note = 2024-01-01"),
        ("steps = 10", "patience = '1e1'"),
        ("[trainer]", "[[trainer]]"),
    ):
        wrong = text.replace(old, new)
        for _ in range(3):
            try:
                resolve(wrong)
                break
            except RecipeError as error:
                (line,) = error.mistakes
                wrong = followed(line, wrong)
                steps += 1
        else:
            pytest.fail(f"{new}: {line}")
    assert steps == 16


def followed(line, text):
    """A recipe after its reader has done what a mistake says."""
    key, _, said = line.partition(": ")
    if match := re.search(r"write (\[.*\]) for (\[\[.*\]\])", said):
        return text.replace(match[2], match[1])
    if match := re.search(r"did you mean '([^']+)'", said):
        wrong = (
            key.strip("[]") if key.startswith("[") else re.search(r"(?:called|option|got) '([^']+)'", said)[1]
        )
        return (
            text.replace(f"[{wrong}]", f"[{match[1]}]")
            if key.startswith("[")
            else text.replace(wrong, match[1])
        )
    value = re.search(r"(?:, write |brackets, like )(.*)$", said)[1]
    return re.sub(
        rf"^{key.rpartition('.')[2]} = .*$", f"{key.rpartition('.')[2]} = {value}", text, flags=re.M
    )


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ("trainer.steps=1e3", 1000),
        ("optimizer.lr=.5", 0.5),
        ("optimizer.lr=5.", 5.0),
        ("task.data=2024-01-01", "2024-01-01"),
        ("task.data=007", "007"),
        ("task.data=12", "12"),
        ("task.data=true", "true"),
        ("optimizer.betas=0.9,0.95", (0.9, 0.95)),
        ("optimizer.match=attn,mlp", ["attn", "mlp"]),
        ("optimizer.match=attn", ["attn"]),
        ("trainer.patience=none", None),
    ],
)
def test_what_is_plain_on_the_command_line_is_taken(resolve, setting, found):
    section, _, key = setting.partition("=")[0].partition(".")
    resolved = resolve(RECIPE, setting)
    choice = {
        "task": resolved.task,
        "trainer": resolved.trainer,
        "optimizer": resolved.trainer.options["optimizer"],
    }[section]
    assert {**choice.options, **choice.companion_options}[key] == found
    # As it is written into the run's recipe it means the same.
    assert resolve(resolved.to_toml()).to_toml() == resolved.to_toml()


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        (("trainer.steps=0",), "(--set trainer.steps=0)"),
        ((), "(trainer.steps of {file})"),
    ],
)
def test_a_value_that_a_constructor_refuses_is_told_with_its_key(resolve, tmp_path, settings, where):
    resolved = resolve(RECIPE.replace("steps = 10", "steps = -1"), *settings)
    with pytest.raises(GraftworkError) as caught:
        resolved.trainer()
    assert str(caught.value).endswith(where.format(file=tmp_path / "given.toml"))


def test_what_a_constructor_refuses_is_found_option_by_option(resolve, registry):
    trainer = resolve(RECIPE, "trainer.steps=-1").trainer
    (refused,) = trainer.refusals()
    assert (refused.option, str(refused)) == (
        "steps",
        "trainer/standard: steps must be at least 1, got -1 (--set trainer.steps=-1)",
    )
    assert resolve().trainer.refusals() == []
    # What is no ValueError is told where it happens.
    assert resolve().trainer.refusals("one argument too many") == []


def test_a_plain_word_of_a_message_is_not_taken_for_an_option(add_plugin, discover):
    body = """
class Trainer:
    def __init__(self, *, data: int = 1, batch: int = 2):
        raise ValueError("no data for batch 0")
    def fit(self, task, recipe, run): ...

@hookimpl
def graftwork_components():
    yield Component(Kind.TRAINER, "words", "graftwork_words:Trainer", "a trainer")
"""
    add_plugin("kit", PLUGIN)
    add_plugin("words", body)
    registry = discover()
    sections = tomllib.loads(RECIPE) | {"trainer": {"name": "words", "data": 3}}
    del sections["optimizer"]
    resolved = build_recipe(sections, registry=registry).resolve(registry)
    with pytest.raises(GraftworkError) as caught:
        resolved.trainer()
    assert str(caught.value) == "trainer/words: no data for batch 0 ([trainer])"


def test_a_second_plugin_makes_short_names_ambiguous_and_nothing_else(
    resolve, registry, add_plugin, discover
):
    add_plugin("rival", PLUGIN.replace("graftwork_kit", "graftwork_rival"))
    both = discover()

    def read(text, *settings):
        return build_recipe(
            tomllib.loads(text), overrides=[parse_set(one) for one in settings], registry=both
        ).resolve(both)

    full = re.sub(r'name = "(\w+)"', r'name = "kit:\1"', RECIPE).replace(
        "[trainer]", '[trainer]\nname = "kit:two-level"'
    )
    full = full.replace("[optimizer", "[upper_optimizer").replace("steps = 10", "")
    resolved = read(full)
    # The optimizer that the trainer has by default is its own plugin's, and is written so that it stays that.
    assert resolved.sections["trainer"]["lower_optimizer"]["name"] == "kit:sgd"
    assert read(resolved.to_toml()).sections == resolved.sections
    with pytest.raises(RecipeError, match="write optimizer/kit:sgd or optimizer/rival:sgd"):
        read(full, "upper_optimizer.name=sgd")
    with pytest.raises(RecipeError, match=r"did you mean 'kit:sgd' or 'rival:sgd'\?"):
        read(full, "upper_optimizer.name=sgdd")
    assert (
        read(full, "upper_optimizer.name=optimizer/rival:sgd").trainer.options["upper_optimizer"].name
        == "sgd"
    )
