import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from obverse.networks.inception import SIDE, Inception, load_inception


@pytest.fixture(scope="module")
def network() -> Inception:
    torch.manual_seed(0)
    return Inception().eval().requires_grad_(False)


def test_it_has_the_published_weights(network):
    # torchvision's inception_v3 has 27,161,264: 3,326,696 of the auxiliary classifier, 2,049,000 of the last layer
    assert sum(p.numel() for p in network.parameters()) == 27_161_264 - 3_326_696 - 2_049_000
    assert sum(isinstance(m, torch.nn.Conv2d) for m in network.modules()) == 94
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes["Conv2d_4a_3x3.conv.weight"] == (192, 80, 3, 3)
    assert shapes["Mixed_6b.branch7x7_2.conv.weight"] == (128, 128, 1, 7)
    assert shapes["Mixed_6e.branch7x7dbl_5.conv.weight"] == (192, 192, 1, 7)
    assert shapes["Mixed_7c.branch3x3dbl_3b.conv.weight"] == (384, 384, 3, 1)
    assert shapes["Mixed_7a.branch7x7x3_4.bn.running_var"] == (192,)


def test_the_grid_shrinks_as_published(network):
    """35 x 35, 17 x 17 and 8 x 8 cells of 288, 768 and 2048 channels (the paper's table 1)."""
    found, x = {}, torch.rand(1, 3, SIDE, SIDE)
    hooks = [block.register_forward_hook(lambda _, __, out, name=name: found.update({name: tuple(out.shape[1:])}))
             for name, block in network.named_children()]  # fmt: skip
    assert network(x).shape == (1, 2048)
    for hook in hooks:
        hook.remove()
    assert found["Conv2d_1a_3x3"] == (32, 149, 149) and found["Conv2d_4a_3x3"] == (192, 71, 71)
    assert found["Mixed_5d"] == (288, 35, 35) and found["Mixed_6e"] == (768, 17, 17)
    assert found["Mixed_7a"] == (1280, 8, 8) and found["Mixed_7c"] == (2048, 8, 8)


def slow(x, weights, name, stride=1, padding=(0, 0)):
    """Convolution, batch norm in inference, ReLU, from the weights alone."""
    x = F.conv2d(x, weights[f"{name}.conv.weight"], stride=stride, padding=padding)
    mean, var = (weights[f"{name}.bn.running_{k}"].view(1, -1, 1, 1) for k in ("mean", "var"))
    gain, offset = (weights[f"{name}.bn.{k}"].view(1, -1, 1, 1) for k in ("weight", "bias"))
    return (gain * (x - mean) / (var + 0.001).sqrt() + offset).clamp_min(0)


def test_a_block_of_each_kind_equals_the_slow_form(network):
    w = network.state_dict()
    x = torch.rand(1, 1280, 5, 5)
    n = "Mixed_7b"
    a = slow(x, w, f"{n}.branch3x3_1")
    b = slow(slow(x, w, f"{n}.branch3x3dbl_1"), w, f"{n}.branch3x3dbl_2", padding=1)
    around = (
        F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 1)
        * 9
        / F.avg_pool2d(F.pad(torch.ones(1, 1, 5, 5), (1, 1, 1, 1)), 3, 1)
        / 9
    )
    parts = [slow(x, w, f"{n}.branch1x1")]
    for inner, end in ((a, "branch3x3_2"), (b, "branch3x3dbl_3")):
        parts += [slow(inner, w, f"{n}.{end}a", padding=(0, 1)), slow(inner, w, f"{n}.{end}b", padding=(1, 0))]
    parts.append(slow(around, w, f"{n}.branch_pool"))
    torch.testing.assert_close(network.get_submodule(n)(x), torch.cat(parts, 1), rtol=1e-4, atol=1e-4)
    x, n = torch.rand(1, 288, 7, 7), "Mixed_6a"
    a = slow(slow(x, w, f"{n}.branch3x3dbl_1"), w, f"{n}.branch3x3dbl_2", padding=1)
    parts = [slow(x, w, f"{n}.branch3x3", 2), slow(a, w, f"{n}.branch3x3dbl_3", 2), F.max_pool2d(x, 3, 2)]
    torch.testing.assert_close(network.get_submodule(n)(x), torch.cat(parts, 1), rtol=1e-4, atol=1e-4)


def test_weights_come_from_the_file_that_is_named(network, tmp_path):
    weights = {name: value.contiguous() for name, value in network.state_dict().items() if "tracked" not in name}
    weights |= {"fc.weight": torch.zeros(1008, 2048), "AuxLogits.fc.bias": torch.zeros(3)}
    path = tmp_path / "inception.safetensors"
    save_file(weights, path)
    found, digest = load_inception(path)
    assert len(digest) == 64 and not found.training and not any(p.requires_grad for p in found.parameters())
    for name, value in found.state_dict().items():
        assert torch.equal(value, network.state_dict()[name])
    weights.pop("Mixed_5b.branch1x1.conv.weight")
    save_file(weights, path)
    with pytest.raises(
        ValueError, match=r"expected the weights of Inception-v3, got others \(Missing key\(s\).*Mixed_5b"
    ):
        load_inception(path)
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors is missing"):
        load_inception(tmp_path / "nothing.safetensors")
