from __future__ import annotations

import torch
from torch import nn

from graftwork_decentral.bilevel.meta_learning import MetaLearning
from graftwork_decentral.bilevel.oracles import Oracles
from graftwork_decentral.bilevel.policy_evaluation import PolicyEvaluation
from graftwork_decentral.bilevel.quadratic import Quadratic


def test_solution_of_problem_q_is_where_all_three_mean_directions_vanish() -> None:
    problem = Quadratic(agents=7, upper_variables=3, lower_variables=6, seed=4)
    x = problem.upper_solution
    y, z = problem.lower_solution(x), problem.auxiliary_solution(x)
    x, y, z = (point.expand(7, -1) for point in (x, y, z))
    for direction in Oracles(problem).together(x, y, z, problem.data()):
        assert direction.mean(0).abs().max() < 1e-12
        assert direction.abs().max() > 1e-2


def test_gradient_of_problem_q_is_the_derivative_of_the_upper_loss_at_the_lower_solution() -> None:
    problem = Quadratic(agents=4)
    data = problem.data()
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    mean = problem.mean
    y = torch.linalg.solve(mean["curvature"], mean["coupling"] @ x + mean["shift"])
    each = [problem.upper_loss(x, y, {name: value[i] for name, value in data.items()}) for i in range(4)]
    (slope,) = torch.autograd.grad(torch.stack(each).mean(), x)
    torch.testing.assert_close(slope, problem.gradient(x.detach()), rtol=1e-10, atol=1e-10)


def test_policy_evaluation_has_the_known_solution_where_every_transition_is_the_mean_one() -> None:
    problem = PolicyEvaluation(agents=3, states=30, features=4, noise=0.0)
    x = problem.upper_solution
    for index in range(4):
        moved = x.clone()
        for sign in (-1, 1):
            moved[index] = x[index] + sign * 1e-3
            assert problem.bellman_error(moved) > problem.bellman_error(x)
    y = problem.lower_solution(x)
    upper = problem.upper_loss(x, y, {})
    torch.testing.assert_close(float(upper), problem.bellman_error(x), rtol=1e-6, atol=0)


def test_drawn_transitions_follow_the_chain_and_depend_on_seed_step_and_agent_alone() -> None:
    problem = PolicyEvaluation(agents=4, states=20, features=3, noise=0.0)
    together = problem.drawn(5, 1, [0, 2, 3])
    alone = problem.drawn(5, 1, [2])
    for name, value in alone.items():
        assert torch.equal(together[name][1], value[0])
    assert not torch.equal(problem.drawn(6, 1, [2])["next_features"], alone["next_features"])
    draws = torch.stack([problem.drawn(step, 0, [0])["next_features"][0] for step in range(3000)])
    torch.testing.assert_close(draws.mean(0), problem.transition @ problem.features, rtol=0, atol=0.05)
    part = problem.drawn(0, 0, [0], share=0.25)["drawn"][0]
    assert int((part > 0).sum()) == 5
    assert float(part.sum()) == 20


def test_heads_of_meta_learning_belong_to_their_episodes() -> None:
    problem = MetaLearning(nn.Linear(6, 4), 4, episodes=3, ways=2)
    x, y = torch.randn(problem.upper_variables), torch.randn(problem.lower_variables)
    images = torch.randn(3, 5, 6)
    logits = problem.logits(x, y, images)
    head = y.view(3, 2, 5)[1]
    features = images[1] @ x[:24].view(4, 6).T + x[24:]
    torch.testing.assert_close(logits[1], features @ head[:, :4].T + head[:, 4])


def test_an_adapted_head_is_the_minimizer_of_its_lower_loss() -> None:
    problem = MetaLearning(nn.Linear(6, 4), 4, episodes=1, ways=2, ridge=0.1)
    x, images, labels = torch.randn(problem.upper_variables) / 3, torch.randn(10, 6), torch.arange(10) % 2
    head = problem.adapted(x, images, labels, steps=2000).flatten().requires_grad_()
    loss = problem.lower_loss(x, head, {"support": images[None], "support_labels": labels[None]})
    (slope,) = torch.autograd.grad(loss, head)
    assert slope.abs().max() < 1e-4
