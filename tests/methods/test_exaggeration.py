"""Progressive Exaggeration: every term against its equation, bins and their balance, who hears from what, the knob."""

import math
import warnings

import pytest
import torch
from torch import nn

from obverse.batches import Step
from obverse.classifier import Classifier
from obverse.data.base import MemoryDataset, Sample
from obverse.explanation import as_saved
from obverse.methods.exaggeration import Exaggeration, bernoulli_divergence, even_shares
from obverse.networks.critics_projection import thermometer
from obverse.training import fit
from tiny_core import SHAPE, bright_classifier, bright_data

SMALL = {"bins": 4, "thin": 3, "width": 3, "critic_width": 3, "depth": 2, "seed": 2}


def levels(values) -> MemoryDataset:
    """Images whose posterior of "bright" is sigmoid(12 (value - 0.5))."""
    image = torch.as_tensor(values).float().view(-1, 1, 1, 1).expand(-1, *SHAPE).contiguous()
    label = (image.mean((1, 2, 3)) > 0.5).long()
    return MemoryDataset(Sample(image=image, label=label), ["dark", "bright"])


def make(**settings) -> Exaggeration:
    """Untrained, with gains and offsets that differ from bin to bin, in evaluation mode."""
    explainer = Exaggeration(bright_classifier(), **{**SMALL, **settings})
    generator = torch.Generator().manual_seed(4)
    for name, parameter in explainer.networks["generator"].named_parameters():
        if name.endswith(("gain", "offset")):
            with torch.no_grad():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return explainer


def known(counts, **settings) -> Exaggeration:
    explainer = make(**settings)
    explainer._known.counts.copy_(torch.tensor(counts))
    return explainer


def batch() -> Sample:
    data = bright_data(8, seed=3)
    return data[torch.tensor([0, 1, 4, 5])]


def step(index=0) -> Step:
    return Step(index, 10, 1, 4)


def play(explainer, sample=None, index=0):
    """Run a step without updating anything; return what it yields."""
    return list(explainer.train_step(sample or batch(), step(index)))


# ---------------------------------------------------------------------- the equations, slowly


def posterior(explainer, image) -> list[float]:
    return explainer.classifier.posterior(image)[:, 1].tolist()


def kl(p: float, q: float) -> float:
    return sum(a * math.log(a / b) for a, b in ((p, q), (1 - p, 1 - q)) if a > 0)


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def l1(one, other) -> float:
    """Mean absolute difference of images with pixels in [-1, 1]."""
    pairs = zip((2 * one - 1).flatten().tolist(), (2 * other - 1).flatten().tolist(), strict=True)
    return mean(abs(a - b) for a, b in pairs)


def equations(explainer, index=0):
    """Eqs 2 to 8 for each image by itself: generator's terms and critic's."""
    net, critic, x = explainer.networks["generator"], explainer.networks["critic"], batch().image
    noise = step(index)
    noise.uniform(torch.empty(4, 6))  # the augmentation's numbers come first
    asked = [int(4 * value) for value in noise.uniform(torch.empty(4)).tolist()]
    own = [min(int(4 * value), 3) for value in posterior(explainer, x)]
    fake = torch.cat([net(x[k : k + 1], torch.tensor([asked[k]])) for k in range(4)])  # eq. 2
    same = torch.cat([net(x[k : k + 1], torch.tensor([own[k]])) for k in range(4)])
    cycled = torch.cat([net(fake[k : k + 1], torch.tensor([own[k]])) for k in range(4)])
    enough = explainer._known.counts >= explainer.thin

    def judged(image, bins, told):
        codes = torch.tensor([[(0.5 if k > i else -0.5) if enough[k] and enough[other] else 0.0 for i in range(3)]
                              for k, other in zip(bins, told, strict=True)])  # fmt: skip
        return critic(2 * image - 1, codes).tolist()  # pixels in [-1, 1], as published

    after = posterior(explainer, fake)
    return {
        "real": explainer.adversarial * mean(-min(0, -1 + d) for d in judged(x, own, asked)),  # eq. 7
        "fake": explainer.adversarial * mean(-min(0, -1 - d) for d in judged(fake, asked, own)),  # eq. 7
        "adversarial": -explainer.adversarial * mean(judged(fake, asked, own)),  # eq. 8
        "divergence": explainer.divergence * mean(kl((k + 0.5) / 4, q) for k, q in zip(asked, after, strict=True)),
        "reconstruction": explainer.reconstruction * l1(x, same),  # eq. 5
        "cycle": explainer.cycle * l1(x, cycled),  # eq. 6
        "cycle_divergence": explainer.cycle_divergence
        * mean(kl(p, q) for p, q in zip(posterior(explainer, x), posterior(explainer, cycled), strict=True)),
        "latent": explainer.latent * (net.encode(fake) - net.encode(x)).square().mean().item(),
    }


def test_every_term_equals_its_equation():
    explainer = known([5, 1, 9, 3], adversarial=0.7, divergence=1.3, reconstruction=20.0, cycle=30.0, cycle_divergence=0.4,
                      latent=2.0)  # fmt: skip
    (first, critic), (second, generator) = play(explainer)
    assert (first, second) == ("critic", "generator")
    expected = equations(explainer)
    assert set(critic) | set(generator) == set(expected)
    for name, loss in (critic | generator).items():
        assert loss.item() == pytest.approx(expected[name], rel=2e-4, abs=1e-6), name


def test_terms_that_the_paper_has_not_are_off_by_default():
    _, (_, losses) = play(known([9] * 4))
    assert set(losses) == {"adversarial", "divergence", "reconstruction", "cycle"}


def test_the_divergence_by_hand_and_by_torch():
    logits = torch.tensor([[0.0, 0.0], [0.0, math.log(9.0)]])  # posteriors 0.5 and 0.9
    found = bernoulli_divergence(torch.tensor([0.5, 0.1]), logits)
    by_hand = (0 + 0.1 * math.log(0.1 / 0.9) + 0.9 * math.log(0.9 / 0.1)) / 2
    assert found.item() == pytest.approx(by_hand, rel=1e-6)
    p = torch.rand(7)
    other = torch.distributions.kl_divergence(
        torch.distributions.Bernoulli(p), torch.distributions.Bernoulli(logits=torch.linspace(-5, 5, 7))
    )
    logits = torch.stack([torch.zeros(7), torch.linspace(-5, 5, 7)], 1)
    assert bernoulli_divergence(p, logits).item() == pytest.approx(other.mean().item(), rel=1e-4)


def test_the_divergence_keeps_its_gradient_where_the_classifier_is_sure():
    logits = torch.tensor([[0.0, 200.0], [200.0, 0.0]], requires_grad=True)
    loss = bernoulli_divergence(torch.tensor([0.05, 0.0]), logits)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.isfinite() and gradient[0].abs().min() > 0.4


def test_the_lower_edge_is_an_option():
    assert make()._probability(torch.arange(4)).tolist() == [0.125, 0.375, 0.625, 0.875]
    assert make(target="lower edge")._probability(torch.arange(4)).tolist() == [0.0, 0.25, 0.5, 0.75]


# ---------------------------------------------------------------------- bins and their balance


def test_a_posterior_of_one_falls_into_the_last_bin():
    value = torch.tensor([0.0, 0.2499, 0.25, 0.5, 0.999, 1.0])
    assert make()._bin(torch.stack([1 - value, value], 1)).tolist() == [0, 0, 1, 2, 3, 3]


@pytest.mark.parametrize("counts, most, expected", [
    ([50, 50], 50, [0.5, 0.5]),
    ([90, 0, 10], 50, [0.5, 0, 0.5]),  # an empty bin gets nothing
    ([98, 1, 1], 10, [0.8, 0.1, 0.1]),  # 1 % of the data may be 10 % of a batch
    ([96, 3, 1], 10, [0.6, 0.3, 0.1]),  # what the last cannot take goes to the first two, and is too much for the second
    ([60, 40], 1, [0.6, 0.4]),  # as in the data
])  # fmt: skip
def test_shares_by_hand(counts, most, expected):
    torch.testing.assert_close(even_shares(torch.tensor(counts), most), torch.tensor(expected, dtype=torch.float64))


def test_no_image_comes_more_than_fifty_times_as_often_as_in_the_data():
    counts = torch.tensor([4878, 11, 9, 5, 3, 5, 0, 6, 140, 4652])
    shares = even_shares(counts, 50)
    often = shares / counts.clamp_min(1) * counts.sum()  # how many times as often as in the data
    assert shares.sum().item() == pytest.approx(1) and often.max().item() == pytest.approx(50)
    assert often[1:8][counts[1:8] > 0].min().item() == pytest.approx(50)  # as near to equal shares as it may
    torch.testing.assert_close(shares[[0, 9]], shares[[8, 8]])  # the others share equally what is left


def test_images_are_weighed_by_their_bin_and_thin_bins_are_named():
    explainer = make(most=2.0)
    data = levels([0.1] * 6 + [0.55] + [0.9] * 5)  # posteriors 0.01, 0.65, 0.99
    said = (r"exaggeration: fewer than 3 of 12 images have these posteriors of 'bright': 0.25 to 0.5: 0, 0.5 to 0.75: 1; "
            "there the critic does not judge the class")  # fmt: skip
    with pytest.warns(UserWarning, match=said):
        weights = explainer.weights(data)
    middle = 2 / 12  # twice as often as in the data
    expected = [(1 - middle) / 2 / 6] * 6 + [middle] + [(1 - middle) / 2 / 5] * 5
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float64))
    described = explainer.describe()
    assert described["found"]["images a bin"] == {"0 to 0.25": 6, "0.25 to 0.5": 0, "0.5 to 0.75": 1, "0.75 to 1": 5}
    assert described["found"]["thin bins"] == ["0.25 to 0.5", "0.5 to 0.75"]
    assert explainer.thin_posteriors == ((0.25, 0.5), (0.5, 0.75))


def test_before_training_nothing_is_said_of_bins():
    assert make().thin_posteriors == () and "found" not in make().describe()


def test_with_enough_images_in_every_bin_there_is_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make().weights(levels([0.1] * 3 + [0.45] * 3 + [0.55] * 3 + [0.9] * 3))


def test_fewer_than_two_bins_with_enough_images():
    said = (r"data: exaggeration needs two bins of the posterior with 3 images each, got 1 \(with fewer are "
            r"0.25 to 0.5: 0, 0.5 to 0.75: 0, 0.75 to 1: 2\); pass images of both decisions")  # fmt: skip
    with pytest.raises(ValueError, match=said):
        make().weights(levels([0.1] * 8 + [0.9] * 2))


def test_images_that_the_classifier_cannot_sort_are_refused():
    data = bright_data(9)
    data.classes = ("dark", "grey", "bright")
    with pytest.raises(ValueError, match=r"data: exaggeration translates between dark and bright, got images of 3 classes"):
        make().weights(data)
    explainer = make()
    explainer.classifier.posteriors = lambda data: torch.tensor([[0.5, 0.5], [torch.nan, torch.nan]])
    with pytest.raises(ValueError, match="data: the classifier's posteriors of 1 of 2 images are not finite; check its weights"):
        explainer.weights(bright_data(2))


def test_the_report_names_the_thin_bins(tmp_path):
    from obverse.evaluation import evaluate

    explainer = make()
    with pytest.warns(UserWarning, match="fewer than 3"):
        explainer.weights(levels([0.1] * 6 + [0.55] + [0.9] * 5))
    report = evaluate(explainer, bright_data(8), metrics=("validity",))
    assert report.to_dict()["settings"]["explainer"]["found"]["thin bins"] == ["0.25 to 0.5", "0.5 to 0.75"]
    report.save(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "thin bins" in page and "0.25 to 0.5" in page and "0.5 to 0.75" in page


def test_the_run_folder_names_the_thin_bins(tmp_path):
    from obverse.checkpoint import read_json

    explainer = make()
    with pytest.warns(UserWarning, match="fewer than 3 of 16 images"):
        fit(explainer, bright_data(16), steps=1, batch_size=4, progress=False, run_dir=tmp_path / "run")
    for path in ("config.json", "best/settings.json"):
        content = read_json(tmp_path / "run" / path)
        what = content.get("what", content)
        assert what["found"]["thin bins"] and sum(what["found"]["images a bin"].values()) == 16


def test_in_thin_bins_the_critic_judges_realism_alone():
    explainer, x = known([9, 0, 2, 9]), batch().image
    critic = explainer.networks["critic"]
    code = explainer._code(torch.tensor([0, 1, 2, 3]))
    assert code.tolist() == [[-0.5] * 3, [0] * 3, [0] * 3, [0.5] * 3]
    plain = critic(x, torch.zeros(4, 3))
    found = critic(x, code)
    torch.testing.assert_close(found[1:3], plain[1:3])
    assert (found - plain)[[0, 3]].abs().min() > 1e-6


def test_the_critic_is_told_as_often_of_real_images_as_of_made_ones():
    explainer, seen = known([9, 0, 0, 9]), []
    images = levels([0.255, 0.466, 0.534, 0.745])[slice(None)]  # posteriors of 0.05, 0.4, 0.6, 0.95: two in thin bins
    handle = explainer.networks["critic"].register_forward_hook(lambda _, given, __: seen.append(given[1]))
    for index in range(40):
        list(explainer.train_step(images, step(index)))
    handle.remove()
    silent = torch.stack([(code == 0).all(1).view(2, -1) for code in seen if len(code) == 8])  # real and made, side by side
    assert torch.equal(silent[:, 0], silent[:, 1])
    assert silent[:, 0, [1, 2]].all() and 0.3 < silent[:, 0, [0, 3]].float().mean() < 0.7  # two of four bins are thin


def test_a_thin_bin_is_judged_between_the_end_bins_and_not_as_the_lowest():
    explainer, x = known([9, 0, 9, 9]), batch().image
    low, thin, _, high = (
        explainer.networks["critic"](x, explainer._code(torch.full((4,), k))).detach() for k in range(4)
    )
    torch.testing.assert_close(thin, (low + high) / 2)
    assert (thin - low).abs().min() > 1e-6


def test_between_known_bins_the_critic_tells_what_eq_4_tells():
    explainer, x = known([9] * 4), batch().image
    critic, which = explainer.networks["critic"], torch.arange(4)
    centred = torch.stack([critic(x, explainer._code(which[k].expand(4))) for k in range(4)]).detach()
    printed = torch.stack([critic(x, thermometer(which[k].expand(4), 4)) for k in range(4)]).detach()
    torch.testing.assert_close(centred.diff(dim=0), printed.diff(dim=0), rtol=1e-4, atol=1e-6)
    assert centred.diff(dim=0).abs().min() > 1e-6


def test_with_thin_bins_only_the_ordinal_vectors_hear_nothing_for_real_and_made_images():
    explainer = known([0, 0, 0, 0])
    (_, critic), _ = play(explainer)
    vectors = [p for name, p in explainer.networks["critic"].named_parameters() if name.startswith("ordinal")]
    for name in ("real", "fake"):
        (gradient,) = torch.autograd.grad(critic[name], vectors, retain_graph=True)
        assert not gradient.any()


# ---------------------------------------------------------------------- order, and who hears from what


def heard(loss, network) -> dict[str, bool]:
    names, parameters = zip(*network.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return {name: g is not None and bool(g.abs().sum() > 0) for name, g in zip(names, gradients, strict=True)}


def test_the_class_term_alone_moves_every_layer_and_leaves_the_classifier_alone():
    explainer = known([9] * 4, width=8)
    explainer.networks.train()
    _, (_, losses) = play(explainer)
    for name in ("divergence", "adversarial", "cycle", "reconstruction"):
        found = heard(losses[name], explainer.networks["generator"])
        # before a norm of batch statistics a bias has no effect, and next to no gradient
        assert [key for key, value in found.items() if not value and not key.endswith("bias")] == [], name
    assert all(p.grad is None and not p.requires_grad for p in explainer.classifier.module.parameters())
    for name in ("divergence", "cycle"):
        assert not any(heard(losses[name], explainer.networks["critic"]).values())


def test_the_critics_move_trains_the_critic_only():
    explainer = known([9] * 4, critic_width=12)
    critic = explainer.networks["critic"]
    with torch.no_grad():  # logits around 0, where the hinge has a slope
        critic.realism.bias.sub_(critic(2 * batch().image - 1, torch.zeros(4, 3)).mean())
    (_, losses), _ = play(explainer)
    for name in ("real", "fake"):
        assert all(heard(losses[name], critic).values())
        assert not any(heard(losses[name], explainer.networks["generator"]).values())


def test_the_generator_moves_at_every_few_steps_of_the_critic():
    explainer = known([9] * 4, generator_every=3)
    moves = [[player for player, _ in play(explainer, index=index)] for index in range(4)]
    assert moves == [["critic", "generator"], ["critic"], ["critic"], ["critic", "generator"]]


def test_targets_are_fresh_at_every_step():
    explainer = known([9] * 4, generator_every=2)
    fakes = [play(explainer, index=index)[0][1]["fake"].item() for index in range(4)]
    assert len(set(fakes)) == 4


def test_the_generators_move_meets_the_critic_after_its_update():
    explainer = known([9] * 4)
    moves = explainer.train_step(batch(), step())
    next(moves)
    with torch.no_grad():
        explainer.networks["critic"].realism.bias.add_(3.0)
    _, losses = next(moves)
    assert losses["adversarial"].item() == pytest.approx(equations(explainer)["adversarial"], rel=1e-4)


def test_optimisers_are_adams_with_the_published_settings():
    explainer = make(generator_rate=3e-4)
    for name, rate in (("generator", 3e-4), ("critic", explainer.critic_rate)):
        player = explainer.players()[name]
        (group,) = player.param_groups
        assert type(player).__name__ == "Adam" and group["lr"] == rate and group["betas"] == (0.0, 0.9)
        assert {id(p) for p in group["params"]} == {id(p) for p in explainer.networks[name].parameters()}


def test_the_rate_falls_to_a_tenth_at_the_end():
    explainer = make(decay=0.25)
    rates = [explainer.rate(Step(index, 100, 0, 2)) for index in range(100)]
    assert rates[:76] == [1.0] * 76 and rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.1 + 0.9 / 25)


# ---------------------------------------------------------------------- the knob


def decoded(explainer, image, position):
    with torch.no_grad():
        return explainer.networks["generator"](image, torch.full((len(image),), float(position)))


def test_the_knob_at_a_centre_between_two_and_beyond_the_ends(images):
    explainer = make()
    for asked, position in ((0.375, 1.0), (0.5, 1.5), (0.125, 0.0), (0.0, 0.0), (0.9, 3.0), (1.0, 3.0), (0.7, 2.3)):
        answer = explainer.at(images, asked, of="bright")
        expected = as_saved(decoded(explainer, images, position))
        torch.testing.assert_close(answer.counterfactual, expected, atol=1.01 / 255, rtol=0)
        assert answer.requested.tolist() == pytest.approx([asked] * 8)
        other = explainer.at(images, 1 - asked, of="dark")
        torch.testing.assert_close(other.counterfactual, answer.counterfactual, atol=1.01 / 255, rtol=0)
    between = [explainer.at(images, p, of=1).counterfactual for p in (0.375, 0.5, 0.625)]
    assert all((a - b).abs().max() > 1 / 255 for a, b in ((between[0], between[1]), (between[1], between[2])))


@pytest.mark.parametrize("asked", [0.1, 0.3, 0.62, 0.9])
def test_a_searched_knob_gives_the_posterior_that_was_asked_for(asked, images, monkeypatch):
    def curved(self, latent, position):
        value = 0.2 + 0.6 * (position / 3) ** 3
        return value.view(-1, 1, 1, 1).expand(-1, *SHAPE)

    monkeypatch.setattr(Exaggeration, "_decode", curved)
    plain, searched = (make(search=search).at(images, asked, of="bright").posterior_after[:, 1] for search in (0, 9))
    assert (searched - asked).abs().max() < 0.02  # a grey level of 8 bits moves this posterior by up to 0.012
    assert (plain - asked).abs().min() > 2 * (searched - asked).abs().max()


def test_a_search_beyond_the_end_bins_reaches_what_they_do_not(images, monkeypatch):
    def straight(self, latent, position):
        value = 0.4 + 0.2 * position / 3  # the end bins fall short of posteriors of 0.1 and 0.9
        return value.view(-1, 1, 1, 1).expand(-1, *SHAPE)

    monkeypatch.setattr(Exaggeration, "_decode", straight)
    for asked in (0.1, 0.9):
        near, reached = (make(search=9, beyond=b).at(images, asked, of="bright").posterior_after[:, 1] for b in (0, 3))
        assert (reached - asked).abs().max() < 0.02 < (near - asked).abs().min()


def test_a_searched_knob_never_does_worse_than_the_bins(images):
    plain, searched = (make(search=search).at(images, 0.4, of="bright").posterior_after[:, 1] for search in (0, 5))
    assert ((searched - 0.4).abs() <= (plain - 0.4).abs() + 1e-6).all()


def test_a_searched_path_keeps_its_ends(images):
    plain, searched = (make(search=search).path(images, frames=4, target="bright") for search in (0, 5))
    assert torch.equal(plain[:, [0, -1]], searched[:, [0, -1]]) and not torch.equal(plain, searched)


def test_a_searched_path_gives_the_posteriors_in_equal_steps_to_an_end_that_may_lie_beyond(images, monkeypatch):
    def straight(self, latent, position):
        value = 0.4 + 0.2 * position / 3
        return value.view(-1, 1, 1, 1).expand(-1, *SHAPE)

    monkeypatch.setattr(Exaggeration, "_decode", straight)
    dark = images[::2]
    short, far = make(search=9), make(search=9, beyond=3)
    frames = far.path(dark, "bright", frames=5)
    found = far.classifier.posterior(as_saved(frames).flatten(0, 1))[:, 1].view(4, 5)
    wanted = torch.linspace(0.125, 0.875, 5)
    assert (found[:, 1:] - wanted[1:]).abs().max() < 0.02 and (found.diff(dim=1) > 0).all()
    answer = far.explain(dark, "bright")
    torch.testing.assert_close(answer.counterfactual, as_saved(frames[:, -1]))
    assert answer.posterior_after[:, 1].min() > 0.85 > short.explain(dark, "bright").posterior_after[:, 1].max()
    wide, narrow = (one.explain(dark, "bright").attribution.mean() for one in (far, short))
    assert wide > narrow  # the map goes from end to end; the knob's is not searched for
    assert torch.equal(far.at(dark, 0.3, of="bright").attribution, short.explain(dark, "bright").attribution)


def test_ends_that_do_not_fall_short_stay(images, monkeypatch):
    def steep(self, latent, position):
        return (position / 3).clamp(0, 1).view(-1, 1, 1, 1).expand(-1, *SHAPE)

    monkeypatch.setattr(Exaggeration, "_decode", steep)
    plain, far = (make(search=9, beyond=b).explain(images).counterfactual for b in (0, 3))
    assert torch.equal(plain, far)


def test_with_the_lower_edge_the_scale_moves_by_half_a_bin(images):
    answer = make(target="lower edge").at(images, 0.5, of="bright")
    expected = as_saved(decoded(make(), images, 2.0))
    torch.testing.assert_close(answer.counterfactual, expected, atol=1.01 / 255, rtol=0)


@pytest.mark.parametrize("asked", [-0.1, 1.5, float("nan")])
def test_a_posterior_that_is_none(asked, images):
    with pytest.raises(ValueError, match=r"posterior: expected a probability in \[0, 1\], got"):
        make().at(images, asked, of="bright")


def test_the_answer_is_the_end_of_the_targets_side_and_its_map_goes_from_end_to_end(images):
    explainer = make()
    low, high = (decoded(explainer, images, position) for position in (0, 3))
    own = (posterior(explainer, images)[k] * 4 // 1 for k in range(8))
    stable = torch.cat([decoded(explainer, images[k : k + 1], position) for k, position in enumerate(own)])
    explanation = explainer.explain(images)
    towards = torch.tensor([True, False] * 4).view(-1, 1, 1, 1)  # dark, bright, in turn
    close = {"rtol": 0, "atol": 1.01 / 255}
    torch.testing.assert_close(explanation.counterfactual, as_saved(torch.where(towards, high, low)), **close)
    torch.testing.assert_close(explanation.stable, as_saved(stable), **close)
    torch.testing.assert_close(explanation.difference, explanation.counterfactual - explanation.stable)
    torch.testing.assert_close(explanation.attribution, (high - low).abs(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(explanation.residual, (stable - images).abs().mean((1, 2, 3)), rtol=1e-4, atol=1e-5)
    before, again = explainer.classifier.posterior(images), explainer.classifier.posterior(stable)
    gap = (before - again).gather(1, explanation.source[:, None])[:, 0].abs()
    torch.testing.assert_close(explanation.posterior_gap, gap, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(explainer.at(images, 0.3, of=1).attribution, explanation.attribution)


def test_towards_the_class_decided_already_it_exaggerates(images):
    explainer = make()
    explanation = explainer.explain(images, "bright")
    assert explanation.asked.tolist() == [True, False] * 4
    expected = as_saved(decoded(explainer, images, 3))
    torch.testing.assert_close(explanation.counterfactual, expected, rtol=0, atol=1.01 / 255)


def test_a_path_walks_along_the_posterior(images):
    explainer = make()
    frames, answer = explainer.path(images, frames=4), explainer.explain(images)
    assert frames.shape == (8, 4, *SHAPE) and explainer.path_kind == "a walk along the posterior"
    torch.testing.assert_close(frames[:, 0], answer.stable, rtol=0, atol=0.51 / 255)
    torch.testing.assert_close(frames[:, -1], answer.counterfactual, rtol=0, atol=0.51 / 255)
    own = [int(4 * value) for value in posterior(explainer, images)]
    for row in range(8):
        end = 3 if row % 2 == 0 else 0
        position = own[row] + (end - own[row]) / 3
        torch.testing.assert_close(frames[row : row + 1, 1], decoded(explainer, images[row : row + 1], position))


def test_an_answer_does_not_depend_on_the_batch_after_training(images):
    explainer = make()
    with pytest.warns(UserWarning, match="fewer than 3"):
        fit(explainer, bright_data(16), steps=2, batch_size=4, progress=False, precision="float32")
    whole, alone = explainer.explain(images), explainer.explain(images[3:4])
    torch.testing.assert_close(whole.attribution[3:4], alone.attribution, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------------- validation, poorly represented images


def test_validation_scores_knob_reconstruction_and_ends_and_sets_the_limit():
    explainer, data = make(), bright_data(12)
    image = data[slice(None)].image
    answers = [explainer.at(image, (k + 0.5) / 4, of=1) for k in range(4)]
    found = torch.stack([answer.posterior_after[:, 1] for answer in answers], 1)
    error = (found - torch.tensor([0.125, 0.375, 0.625, 0.875])).abs().mean()
    ends = ((found[:, 0] < 0.5) & (found[:, 3] > 0.5)).float().mean()
    residual = answers[0].residual
    assert answers[0].represented is None  # before any validation nothing is known
    assert explainer.validate(data) == pytest.approx(float(error + residual.mean() + 1 - ends), rel=1e-4)
    after = explainer.explain(image)
    assert after.represented.tolist() == (residual <= residual.quantile(0.9)).tolist()
    assert 1 <= int((~after.represented).sum()) <= 2
    row = int((~after.represented).nonzero()[0])
    said = f"Poorly represented: exaggeration's own picture of the image is off by {float(residual[row]):.3f}"
    assert said in after.words(row)
    assert "Poorly" not in after.words(int(after.represented.nonzero()[0]))


def test_a_refused_run_leaves_what_was_known(tmp_path):
    explainer = make(thin=1, bins=2)
    run = {"steps": 1, "batch_size": 4, "progress": False, "run_dir": tmp_path / "run"}
    fit(explainer, bright_data(16), **run)
    counts = explainer._counts.tolist()
    with pytest.raises(ValueError, match="holds a run already"):
        fit(explainer, bright_data(8), **run)
    assert explainer._counts.tolist() == counts and sum(counts) == 16


def test_the_limit_is_that_of_the_best_weights_and_is_saved(tmp_path):
    explainer, data = make(thin=1, bins=2), bright_data(16)
    fit(explainer, data, validation=data, steps=4, batch_size=4, validate_every=1, progress=False,
        run_dir=tmp_path / "run")  # fmt: skip
    loaded = Exaggeration.load(tmp_path / "run", bright_classifier())
    image = data[slice(None)].image
    answer = loaded.explain(image)
    assert torch.equal(loaded._known.limit, explainer._known.limit)
    assert loaded._known.limit.item() == pytest.approx(answer.residual.quantile(0.9).item(), rel=1e-4)
    assert torch.equal(answer.counterfactual, explainer.explain(image).counterfactual)
    assert loaded.describe() == explainer.describe() and loaded.describe()["found"]["thin bins"] == []


def test_a_resumed_run_equals_one_that_was_not_stopped(tmp_path):
    def run(folder, *steps):
        for count in steps:
            explainer = make(thin=1, bins=2, decay=0.0)
            fit(explainer, bright_data(16), steps=count, batch_size=4, progress=False, run_dir=tmp_path / folder,
                existing="resume", precision="float32")  # fmt: skip
        return explainer.networks.state_dict()

    whole, parts = run("whole", 4), run("parts", 2, 4)
    assert all(torch.equal(value, parts[key]) for key, value in whole.items())


def test_the_sample_picture_shows_every_bin():
    assert make().pictures(bright_data(12)).shape == (1, 8 * 16, 5 * 16)


# ---------------------------------------------------------------------- settings and errors


def test_the_defaults_are_the_papers_weights():
    explainer = Exaggeration(bright_classifier(), width=2, critic_width=2)
    weights = (explainer.adversarial, explainer.divergence, explainer.reconstruction, explainer.cycle)
    assert weights == (1, 1, 100, 100) and explainer.bins == 10 and explainer.momentum == (0, 0.9)
    assert (explainer.thin, explainer.most, explainer.target) == (100, 50, "centre")


def test_colour_images_of_odd_sides_and_several_classes_through_a_view():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 10 * 13, 3))
    several = Classifier(network, ["a", "b", "c"], (3, 10, 13), device="cpu")
    with pytest.raises(ValueError, match=r"exaggeration explains a choice between 2 classes, got 3 \(a, b, c\)"):
        Exaggeration(several)
    explainer = Exaggeration(several.against_rest("c"), bins=2, thin=1, width=2, critic_width=2)
    image = torch.rand(24, 3, 10, 13)
    order = several.against_rest("c").posterior(image)[:, 1].argsort()
    data = MemoryDataset(Sample(image=image[order].round(decimals=2)), ["x"])
    explainer._bin = lambda posterior: (posterior[:, 1] > posterior[:, 1].median()).long()  # two bins of equal size
    fit(explainer, data, steps=2, batch_size=4, progress=False)
    answer = explainer.at(image[:5], 0.7, of="c")
    assert answer.counterfactual.shape == (5, 3, 10, 13) and answer.attribution.shape == (5, 1, 10, 13)


@pytest.mark.parametrize(("name", "value", "least"), [
    ("bins", 1, 2), ("most", 0.5, 1), ("generator_every", 0, 1), ("width", 0, 1), ("critic_width", 0, 1), ("search", -1, 0),
    ("beyond", -1, 0), ("thin", -5, 0), ("decay", -1, 0), ("depth", -1, 0), ("reconstruction", -3, 0),
])  # fmt: skip
def test_impossible_settings(name, value, least):
    with pytest.raises(ValueError, match=f"{name}: expected at least {least} for exaggeration, got {value}"):
        make(**{name: value})


def test_a_posterior_that_is_asked_for_is_judged_as_such(images, monkeypatch):
    def exact(self, latent, position):
        wanted = self._probability(position)
        grey = 0.5 + torch.logit(wanted) / 11  # about what `bright_classifier` gives that posterior
        return grey.clamp(0, 1).view(-1, 1, 1, 1).expand(-1, *SHAPE)

    monkeypatch.setattr(Exaggeration, "_decode", exact)
    explainer = make()
    for asked in (0.3, 0.7):  # of images decided either way
        answer = explainer.at(images, asked, of="bright")
        assert answer.asked.all() and answer.valid.all()
        assert answer.words(0).startswith(f"Valid: asked for {asked:.1%} 'bright', got ")
    beyond = make(search=0).at(images, 1.0, of="bright")
    assert beyond.valid.all() and "nothing had to change" not in beyond.words(0)


def test_a_run_goes_on_where_an_image_has_changed_its_bin(tmp_path, monkeypatch):
    data, run = bright_data(16), tmp_path / "run"
    settings = {"batch_size": 4, "progress": False, "run_dir": run}
    with pytest.warns(UserWarning, match="fewer than 3"):
        fit(make(), data, steps=1, **settings)
    counts = Exaggeration._named
    monkeypatch.setattr(Exaggeration, "_named", lambda self: {name: count + 1 for name, count in counts(self).items()})
    with pytest.warns(UserWarning, match="fewer than 3"):
        assert fit(make(), data, steps=2, existing="resume", **settings).steps == 2


def test_the_same_seed_makes_the_same_networks_and_leaves_the_random_state():
    classifier, state = bright_classifier(), torch.get_rng_state()
    one, same, other = (Exaggeration(classifier, **{**SMALL, "seed": seed}) for seed in (2, 2, 3))
    assert torch.equal(state, torch.get_rng_state())
    for key, value in one.networks.state_dict().items():
        assert torch.equal(value, same.networks.state_dict()[key])
    assert not torch.equal(one.networks["generator"].stem.weight, other.networks["generator"].stem.weight)
