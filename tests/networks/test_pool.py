"""The image pool: filled first, then half of the images exchanged, by the numbers given; held by checkpoints."""

import torch

from obverse.checkpoint import load_tensors, save_folder
from obverse.networks.pool import ImagePool

SHAPE = (1, 2, 2)


def picture(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, *SHAPE).contiguous()


def seen(images: torch.Tensor) -> list[float]:
    return [round(value, 3) for value in images[:, 0, 0, 0].tolist()]


def test_by_hand():
    pool = ImagePool(3, SHAPE)
    exchanged = torch.tensor([[0.1, 0.9]])  # exchange, for place 2
    assert seen(pool(picture(0.1, 0.2), exchanged.expand(2, -1))) == [0.1, 0.2]  # not full: kept and shown
    assert int(pool.count) == 2
    # 0.3 fills it; 0.4 is exchanged for place 0; 0.5 is shown and forgotten; 0.6 for place 0, which is 0.4 by now
    numbers = torch.tensor([[0.1, 0.0], [0.49, 0.0], [0.5, 0.0], [0.0, 0.32]])
    assert seen(pool(picture(0.3, 0.4, 0.5, 0.6), numbers)) == [0.3, 0.1, 0.5, 0.4]
    assert seen(pool.images) == [0.6, 0.2, 0.3] and int(pool.count) == 3


def test_like_a_list_and_a_loop():
    pool, memory = ImagePool(5, SHAPE), []
    draw = torch.Generator().manual_seed(0)
    for _ in range(20):
        image, numbers = torch.rand(4, *SHAPE, generator=draw), torch.rand(4, 2, generator=draw)
        expected = []
        for one, (chance, place) in zip(image, numbers.tolist(), strict=True):
            if len(memory) < 5:
                memory.append(one)
                expected.append(one)
            elif chance < 0.5:
                expected.append(memory[int(place * 5)])
                memory[int(place * 5)] = one
            else:
                expected.append(one)
        assert torch.equal(pool(image, numbers), torch.stack(expected))
    assert torch.equal(pool.images, torch.stack(memory))


def test_what_is_shown_is_detached_and_the_images_stay():
    image = picture(0.5, 0.7).requires_grad_(True)
    pool = ImagePool(1, SHAPE)
    shown = pool(image * 1, torch.tensor([[0.0, 0.0], [0.0, 0.0]]))
    assert not shown.requires_grad and seen(shown) == [0.5, 0.5]  # the second was exchanged for the first
    assert seen(image.detach()) == [0.5, 0.7] and not pool.images.requires_grad


def test_without_places_every_image_is_shown():
    pool = ImagePool(0, SHAPE)
    assert seen(pool(picture(0.5, 0.7), torch.zeros(2, 2))) == [0.5, 0.7] and int(pool.count) == 0


def test_a_checkpoint_holds_it(tmp_path):
    pool, other = ImagePool(3, SHAPE), ImagePool(3, SHAPE)
    pool(picture(0.1, 0.2), torch.zeros(2, 2))
    save_folder(tmp_path / "p", {"pool": pool.state_dict()}, {})
    other.load_state_dict(load_tensors(tmp_path / "p" / "pool.safetensors"))
    numbers = torch.tensor([[0.0, 0.5], [0.2, 0.9]])
    assert torch.equal(pool(picture(0.3, 0.4), numbers), other(picture(0.3, 0.4), numbers))
    assert not list(pool.parameters())
