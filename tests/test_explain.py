"""vitc.explain: rollout against its formula on timm's attention, and the picture."""

import numpy as np
import pytest
import torch

from oracle import double, images, pair, relative
from vitc.explain import attention_figure, attention_rollout
from vitc.models import create_model


def test_rollout_is_the_product_of_timms_attention() -> None:
    """Abnar & Zuidema 2020, from the softmax that timm computes in float64."""
    ours, theirs = pair(
        "deit_tiny_distilled_patch16_224", num_classes=3, img_size=(64, 96), depth=3
    )
    seen: list[torch.Tensor] = []
    for block in theirs.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _, __, p: seen.append(p.detach()))
    x = images(2, ours)
    theirs(double(x))
    flow = torch.eye(26, dtype=torch.float64)
    for attention in seen:
        flow = (0.5 * attention.mean(dim=1) + 0.5 * torch.eye(26, dtype=torch.float64)) @ flow
    patches = flow[:, 0, 2:]
    expected = (patches / patches.sum(dim=1, keepdim=True)).reshape(2, 4, 6)
    assert relative(attention_rollout(ours, x), expected) <= 1e-5


@pytest.mark.parametrize("name", ["test_vit", "test_vit2"])  # with and without a class token
def test_maps_are_shares_of_patches(name: str) -> None:
    model = create_model(name, num_classes=2, img_size=48, depth=2)
    maps = attention_rollout(model, images(3, model))
    assert maps.shape == (3, 3, 3) and np.all(maps > 0)
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), 1, rtol=1e-5)


def test_the_figure_has_an_image_and_a_map_for_each(tmp_path) -> None:
    pictures = [np.full((30, 40), 100, np.uint8), np.zeros((30, 40, 3), np.uint8)]
    maps = [np.eye(3), np.ones((3, 4))]
    figure = attention_figure(pictures, maps, ["one", "two"], columns=2)
    assert [len(axis.get_images()) for axis in figure.axes] == [1, 1, 2, 2]
    assert figure.axes[1].get_title() == "two"
    figure.savefig(tmp_path / "a.png")
