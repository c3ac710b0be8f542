"""A plugin small enough to train in milliseconds: conftest.py installs it, and it is discovered like any."""

from __future__ import annotations

from graftwork import Component, Kind, hookimpl


@hookimpl
def graftwork_components():
    yield Component(Kind.TASK, "regression", "graftwork_toy.tasks:Regression", "for tests")
    yield Component(Kind.TASK, "rows", "graftwork_toy.rows:Rows", "evaluated by rows")
    yield Component(Kind.TASK, "restarting", "graftwork_toy.streams:Restarting", "skips by another stream")
    yield Component(Kind.TASK, "sampled", "graftwork_toy.sampled:Sampled", "a dataset")
    yield Component(Kind.TASK, "loader", "graftwork_toy.sampled:Loader", "batches of a DataLoader")
    yield Component(
        Kind.TASK, "augmented", "graftwork_toy.tasks:Augmented", "batches of the global generator"
    )
    yield Component(Kind.TASK, "drawing", "graftwork_toy.tasks:Drawing", "draws when it is evaluated")
    yield Component(Kind.OPTIMIZER, "lbfgs", "torch.optim:LBFGS", "wants a closure")
    yield Component(Kind.TASK, "watching", "graftwork_toy.tasks:Watching", "notes its mode")
    yield Component(Kind.TASK, "grouped", "graftwork_toy.tasks:Grouped", "makes groups")
    yield Component(Kind.OPTIMIZER, "sgd", "torch.optim:SGD", "torch's")
    yield Component(Kind.OPTIMIZER, "adamw", "torch.optim:AdamW", "torch's")
    yield Component(Kind.OPTIMIZER, "evolution", "graftwork_toy.zeroth_order:Evolution", "zeroth order")
    yield Component(
        Kind.OPTIMIZER, "sharing", "graftwork_toy.zeroth_order:Sharing", "zeroth order that averages itself"
    )
    yield Component(Kind.OPTIMIZER, "twice", "graftwork_toy.optimizers:Twice", "two gradients a step")
    yield Component(Kind.OPTIMIZER, "beside", "graftwork_toy.optimizers:Beside", "evaluates other weights")
    yield Component(Kind.OPTIMIZER, "matrices", "graftwork_toy.optimizers:Matrices", "trains some weights")
    yield Component(
        Kind.OPTIMIZER, "rateless", "graftwork_toy.optimizers:Rateless", "has no lr in its groups"
    )
    yield Component(Kind.OPTIMIZER, "early", "graftwork_toy.optimizers:Early", "steps in the backward pass")
    yield Component(Kind.TRACKER, "failing", "graftwork_toy.others:FailingTracker", "fails")
    yield Component(Kind.CALLBACK, "telling", "graftwork_toy.others:Telling", "writes a word at the end")
    yield Component(Kind.OPTIMIZER, "looking", "graftwork_toy.optimizers:Looking", "looks at the weights")
    yield Component(Kind.TRAINER, "own-loop", "graftwork_toy.faulty:OwnLoop", "steps by itself")
    for kind in ("task", "model", "optimizer", "trainer", "callback", "tracker"):
        name = {"model": "Net"}.get(kind, kind.title())
        yield Component(kind, "faulty", f"graftwork_toy.faulty:{name}", "fails where a test says")
        yield Component(kind, "broken", "graftwork_toy.broken:Nothing", "cannot be imported")
    yield Component(Kind.REPRODUCTION, "toy", "graftwork_toy.others:reproduce", "for tests")
