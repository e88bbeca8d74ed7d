"""minimise equals a plain optimiser loop run for each row alone."""

import pytest
import torch

from obverse.search import Minimum, best_restart, minimise

CENTRE = torch.tensor([[1.0, -2.0], [0.5, 0.5], [3.0, 0.0]])


def bowl(value, rows):
    """A curved valley around the row's own centre; not the same in every direction."""
    away = value - CENTRE[rows % 3]
    return 3 * away[:, 0] ** 2 + 0.5 * away[:, 1] ** 2 + 0.1 * away.prod(1) ** 2


def plain_loop(row, start, steps, make):
    """One row by itself: the values before each step and after the last, with their losses."""
    value = start.clone()[None].requires_grad_(True)
    optimizer = make([value])
    path = []
    for _ in range(steps + 1):
        loss = bowl(value, torch.tensor([row]))
        path.append((value.detach()[0].clone(), loss.item()))
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    return path


MAKE = {"adam": lambda p: torch.optim.Adam(p, 0.05), "sgd": lambda p: torch.optim.SGD(p, 0.05)}


@pytest.mark.parametrize("update", ["adam", "sgd"])
def test_every_row_equals_a_loop_of_its_own(update):
    start = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    found = minimise(bowl, start, steps=30, rate=0.05, update=update, keep="last")
    for row in range(3):
        value, loss = plain_loop(row, start[row], 30, MAKE[update])[-1]
        torch.testing.assert_close(found.value[row], value, rtol=0, atol=1e-6)
        assert found.loss[row].item() == pytest.approx(loss, abs=1e-6)
    assert found.steps.tolist() == [30] * 3 and not found.stopped.any()
    assert float((found.value - start).abs().min()) > 0.01


def test_the_best_value_seen_is_kept():
    start = torch.zeros(3, 2)
    found = minimise(bowl, start, steps=25, rate=0.7)  # jumps over the minimum and back
    for row in range(3):
        path = plain_loop(row, start[row], 25, lambda p: torch.optim.Adam(p, 0.7))
        best = min(range(26), key=lambda k: path[k][1])
        assert best != 25
        torch.testing.assert_close(found.value[row], path[best][0], rtol=0, atol=1e-4)


def test_rows_that_are_done_leave_and_the_others_go_on_alike():
    start = torch.zeros(3, 2)
    asked = []

    def done(value, rows):
        asked.append(rows.tolist())
        return bowl(value, rows) < 0.05

    found = minimise(bowl, start, steps=200, rate=0.05, done=done)
    assert found.stopped.all()
    for row in range(3):
        path = plain_loop(row, start[row], 200, MAKE["adam"])
        first = next(k for k, (_, loss) in enumerate(path) if loss < 0.05)
        assert found.steps[row].item() == first
        torch.testing.assert_close(found.value[row], path[first][0], rtol=0, atol=1e-5)
    assert len(set(found.steps.tolist())) == 3  # they left at different times
    assert asked[0] == [0, 1, 2] and len(asked[-1]) == 1
    assert len(asked) == int(found.steps.max()) + 1


def test_done_is_asked_every_so_often_and_at_the_end():
    asked = []

    def done(value, rows):
        asked.append(len(asked))
        return torch.zeros(len(rows), dtype=torch.bool)

    minimise(bowl, torch.zeros(3, 2), steps=10, done=done, check_every=4)
    assert len(asked) == 4  # 0, 4, 8, 10


def test_a_start_that_is_done_stays():
    found = minimise(bowl, CENTRE.clone(), steps=10, done=lambda value, rows: bowl(value, rows) < 1e-9)
    assert torch.equal(found.value, CENTRE) and found.steps.tolist() == [0, 0, 0] and found.stopped.all()


def test_rows_that_settle_leave_with_the_best_they_had():
    start, asked = CENTRE + 0.01, []

    def settled(value, rows):
        asked.append(rows.tolist())
        return (rows == 1) & (bowl(value, rows) > 0.1)

    found = minimise(bowl, start, steps=6, rate=0.7, settled=settled, check_every=2)
    assert torch.equal(found.value, start)  # not where they stood when they left
    torch.testing.assert_close(found.loss, bowl(start, torch.arange(3)))
    assert found.steps.tolist() == [6, 2, 6] and not found.stopped.any()
    assert asked == [[0, 1, 2], [0, 1, 2], [0, 2], [0, 2]]  # after 0, 2, 4 and 6 steps


def test_a_row_that_settles_keeps_its_last_value_if_that_is_asked_for():
    start = CENTRE + 0.01
    found = minimise(bowl, start, steps=6, rate=0.7, keep="last", check_every=3,
                     settled=lambda value, rows: (rows == 1) & (value[:, 0] != start[1, 0]))  # fmt: skip
    three = minimise(bowl, start, steps=3, rate=0.7, keep="last")
    assert found.steps.tolist() == [6, 3, 6] and not torch.equal(found.value[1], start[1])
    torch.testing.assert_close(found.value[1], three.value[1])


def test_a_row_that_is_done_and_settled_is_done():
    start = torch.zeros(3, 2)
    done = lambda value, rows: value[:, 0] > 0.3  # noqa: E731
    both = minimise(bowl, start, steps=20, rate=0.1, done=done, settled=done)
    alone = minimise(bowl, start, steps=20, rate=0.1, done=done)
    assert both.stopped.all() and torch.equal(both.value, alone.value) and torch.equal(both.steps, alone.steps)


def test_a_row_does_not_depend_on_its_batch_mates():
    start = torch.randn(3, 2, generator=torch.Generator().manual_seed(1))
    done = lambda value, rows: value[:, 0] > 2  # noqa: E731
    whole = minimise(bowl, start, steps=40, rate=0.1, done=done)
    assert whole.stopped.tolist() == [False, False, True]
    for row in range(3):
        alone = minimise(lambda v, r, row=row: bowl(v, r + row), start[row : row + 1], steps=40, rate=0.1, done=done)
        torch.testing.assert_close(alone.value[0], whole.value[row], rtol=0, atol=1e-5)
        assert alone.steps[0] == whole.steps[row]


def test_the_sign_update_is_the_step_of_pgd_worked_by_hand():
    # loss = w . x with w = (0.5, -7, 0): the sign is (1, -1, 0); projected into 0.05 around the start and into [0, 1]
    weight, start = torch.tensor([0.5, -7.0, 0.0]), torch.tensor([[0.02, 0.5, 0.5]])
    project = lambda value, rows: (start[rows] + (value - start[rows]).clamp(-0.05, 0.05)).clamp(0, 1)  # noqa: E731
    one = minimise(lambda v, rows: v @ weight, start, steps=1, rate=0.03, update="sign", project=project)
    torch.testing.assert_close(one.value, torch.tensor([[0.0, 0.53, 0.5]]))  # 0.02 - 0.03 is below 0
    two = minimise(lambda v, rows: v @ weight, start, steps=2, rate=0.03, update="sign", project=project)
    torch.testing.assert_close(two.value, torch.tensor([[0.0, 0.55, 0.5]]))  # 0.56 is out of the ball
    assert two.loss.item() == pytest.approx(-7 * 0.55)


def test_the_start_is_projected_and_left_as_it_was():
    start = torch.full((2, 2), 5.0)
    found = minimise(bowl, start, steps=1, rate=1e-9, update="sgd", project=lambda value, rows: value.clamp(0, 1))
    torch.testing.assert_close(found.value, torch.ones(2, 2))
    assert torch.equal(start, torch.full((2, 2), 5.0)) and not start.requires_grad


def test_no_network_gets_a_gradient_even_without_grad_mode():
    network = torch.nn.Linear(2, 1)
    with torch.no_grad():
        found = minimise(lambda v, rows: network(v).squeeze(1) ** 2, torch.ones(2, 2), steps=5, rate=0.1)
        assert not torch.is_grad_enabled()
    assert network.weight.grad is None and network.bias.grad is None
    assert not torch.equal(found.value, torch.ones(2, 2)) and not found.value.requires_grad


def test_the_best_restart_is_a_done_one_with_the_least_loss():
    # two queries, three restarts, restart-major; losses close together on purpose
    loss = torch.tensor([0.30, 0.10, 0.20, 0.30, 0.05, 0.20])
    stopped = torch.tensor([True, False, True, False, False, False])
    value = torch.arange(6.0).view(6, 1)
    found = best_restart(Minimum(value, loss, torch.arange(6), stopped), 3)
    assert found.value.flatten().tolist() == [2, 1]  # of query 0: rows 0, 2, 4, done 0 and 2; of query 1: 1, 3, 5
    assert found.loss.tolist() == pytest.approx([0.20, 0.10])
    assert found.steps.tolist() == [2, 1] and found.stopped.tolist() == [True, False]


def test_restarts_find_the_deeper_valley():
    # (v^2 - 1)^2 + 0.3 v has a shallow minimum near 1 and the deep one near -1
    valley = lambda v, rows: ((v**2 - 1) ** 2 + 0.3 * v).sum(1)  # noqa: E731
    start = torch.tensor([[0.9], [-0.9], [-0.8], [0.8]])  # restart 0 of both queries, then restart 1
    found = best_restart(minimise(valley, start, steps=200, rate=0.02), 2)
    assert found.value.shape == (2, 1)
    torch.testing.assert_close(found.value, torch.full((2, 1), -1.036), rtol=0, atol=5e-3)


@pytest.mark.parametrize("arguments", [{"steps": 0}, {"steps": 3, "rate": 0}, {"steps": 3, "check_every": 0}])
def test_impossible_numbers(arguments):
    with pytest.raises(ValueError, match="steps, rate, check_every: expected positive numbers, got"):
        minimise(bowl, torch.zeros(3, 2), **arguments)


@pytest.mark.parametrize("arguments", [{"update": "newton"}, {"keep": "worst"}])
def test_unknown_words(arguments):
    with pytest.raises(ValueError, match="update, keep: expected 'adam', 'sgd' or 'sign', and 'best' or 'last', got"):
        minimise(bowl, torch.zeros(3, 2), steps=1, **arguments)


def test_an_objective_with_one_number_for_all_rows():
    with pytest.raises(ValueError, match=r"objective: expected one loss a row, shape \(3,\), got \(\); take the mean"):
        minimise(lambda v, rows: v.sum(), torch.zeros(3, 2), steps=1)


def test_a_loss_that_is_not_finite_names_the_rows():
    with pytest.raises(FloatingPointError, match=r"step 0: the loss of rows \[1\] is not finite; lower the rate"):
        minimise(lambda v, rows: v[:, 0] / (rows != 1), torch.ones(3, 2), steps=1)


def test_what_the_objective_saw_is_what_done_and_settled_look_at():
    start, told = torch.zeros(40, 2), []  # more rows than are worked on together

    def objective(value, rows):
        return value.square().sum(1), (value.sum(1) * 10 + rows)

    def done(seen, rows):
        told.append((seen, rows))
        return seen == 3.0

    found = minimise(objective, start, steps=2, rate=0.1, done=done, settled=lambda seen, rows: seen == 5.0)
    assert all(torch.equal(seen, rows.float()) and not seen.requires_grad for seen, rows in told)
    assert found.stopped.nonzero().flatten().tolist() == [3]
    assert (found.steps < 2).nonzero().flatten().tolist() == [3, 5]
