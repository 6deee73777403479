"""vitc.models.registry against the live registry of the installed timm: names, tags and their
fields, aliases, and the keys and shapes of every architecture at full size."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from oracle import timm
from oracle.registry import FILE, MODULES, described, written
from vitc.models import (
    create_model,
    get_arch_name,
    get_pretrained_cfg,
    is_model,
    list_models,
    list_modules,
    list_pretrained,
)
from vitc.models.architectures import ARCHITECTURES, DEPRECATED
from vitc.models.factory import architecture_config

THEIRS = described()
OURS = json.loads(FILE.read_text())
NAMES = [f"{name}.{tag}" for name, row in THEIRS["models"].items() for tag in row["tags"]]


def timms(*filters: Any, **options: Any) -> list[str]:
    """What timm lists of the modules."""
    return [
        name for module in MODULES for name in timm.list_models(*filters, module=module, **options)
    ]


@pytest.mark.parametrize("name", sorted({*THEIRS["models"], *OURS["models"]}))
def test_every_architecture_is_timms(name: str) -> None:
    """Its class, its arguments, its tags in their order and the fields of each."""
    ours, theirs = OURS["models"].get(name), THEIRS["models"].get(name)
    assert ours == theirs
    assert list(ours["tags"]) == list(theirs["tags"])


def test_the_file_is_what_its_tool_writes() -> None:
    assert FILE.read_text() == written(THEIRS)


def test_modules_are_timms() -> None:
    assert set(list_modules()) == set(MODULES) <= set(timm.list_modules())
    for module in MODULES:
        assert set(list_models(module=module)) == set(timm.list_models(module=module))


@pytest.mark.parametrize("name", NAMES)
def test_pretrained_cfgs_are_timms(name: str) -> None:
    ours, theirs = get_pretrained_cfg(name), timm.get_pretrained_cfg(name).to_dict()
    trained_with = ours.pop("notes", None)
    assert (trained_with is not None) == ("notes" in theirs)
    assert {key: theirs[key] for key in ours} == ours


def test_items_of_a_cfg_are_attributes() -> None:
    name = "vit_tiny_patch16_224.augreg_in21k"
    ours, theirs = get_pretrained_cfg(name), timm.get_pretrained_cfg(name)
    for field in ("mean", "std", "input_size", "crop_pct", "num_classes", "tag", "test_input_size"):
        assert getattr(ours, field) == getattr(theirs, field)
    assert ours.to_dict() == ours and type(ours.to_dict()) is dict
    assert copy.deepcopy(ours) == pickle.loads(pickle.dumps(ours)) == ours
    with pytest.raises(AttributeError, match="'crop_pc'.*'crop_pct'"):
        _ = ours.crop_pc


@pytest.mark.parametrize("name", list_models())
def test_keys_and_shapes_are_timms_in_order(name: str) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(name).state_dict()
    architecture = ARCHITECTURES[name]
    ours = architecture.model.entries(architecture_config(architecture, {}))
    assert [(entry.name, entry.shape) for entry in ours] == [
        (k, tuple(v.shape)) for k, v in theirs.items()
    ]


@pytest.mark.parametrize(
    ("filter", "options"),
    [
        ("", {}),
        ("", dict(pretrained=True)),
        ("*tiny*", {}),
        ("vit_base_patch*_224", {}),
        (["*siglip*", "*clip*"], dict(exclude_filters="*gap*")),
        ("*dinov2*", dict(exclude_filters=["*reg4*", "*giant*"], pretrained=True)),
        ("vit_base_patch16_*", dict(include_tags=True)),
        ("*.augreg_in1k", dict(pretrained=True)),
    ],
)
def test_lists_are_timms(filter: Any, options: dict[str, Any]) -> None:
    assert set(list_models(filter, **options)) == set(timms(filter, **options))


def test_lists_are_in_natural_order() -> None:
    assert list_models([f"vit_base_patch{size}_224" for size in (32, 8, 16)]) == [
        "vit_base_patch8_224",
        "vit_base_patch16_224",
        "vit_base_patch32_224",
    ]
    assert list_pretrained("vit_base_patch32_*") == timm.list_pretrained("vit_base_patch32_*")


def test_names_with_tags() -> None:
    assert get_arch_name("vit_tiny_patch16_224.augreg_in21k") == "vit_tiny_patch16_224"
    assert is_model("vit_tiny_patch16_224.augreg_in21k") and is_model("vit_tiny_patch16_224")
    assert not is_model("vit_tny_patch16_224")
    assert get_pretrained_cfg("vit_base_patch16_224")["tag"] == "augreg2_in21k_ft_in1k"
    with pytest.raises(ValueError, match=r"no tag 'augreg3'.*augreg_in21k"):
        get_pretrained_cfg("vit_tiny_patch16_224.augreg3")
    with pytest.raises(ValueError, match=r"no tag 'augreg3'"):
        create_model("vit_tiny_patch16_224.augreg3")
    model = create_model("vit_tiny_patch16_224.augreg_in21k", depth=1)
    assert (model.name, model.num_classes) == ("vit_tiny_patch16_224", 21843)
    assert model.pretrained_cfg["hf_hub_id"] == "timm/vit_tiny_patch16_224.augreg_in21k"


@pytest.mark.parametrize("old", DEPRECATED)
def test_earlier_names_are_taken_with_a_warning(old: str) -> None:
    small = dict(depth=1, embed_dim=16, num_heads=1, img_size=32)
    with pytest.warns(DeprecationWarning, match=DEPRECATED[old]):
        model = create_model(old, **small)
    cfg = model.pretrained_cfg
    assert f"{cfg['architecture']}.{cfg['tag']}" == DEPRECATED[old]


def test_a_missing_or_changed_tag_would_be_seen(tmp_path: Path) -> None:
    spoiled = json.loads(json.dumps(OURS))
    del spoiled["models"]["vit_tiny_patch16_224"]["tags"]["augreg_in21k"]
    assert written(spoiled) != written(THEIRS)
    assert spoiled["models"]["vit_tiny_patch16_224"] != THEIRS["models"]["vit_tiny_patch16_224"]
