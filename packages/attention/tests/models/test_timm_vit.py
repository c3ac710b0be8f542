"""Vision transformers of timm as models of recipes: sizes, channels, weights of folders and their mean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from graftwork import GraftworkError
from graftwork_attention.conversion import convert, save_converted
from graftwork_attention.models.timm_vit import timm_vit, without_normalisation
from graftwork_trainer.model_folder.layouts import write_layout

MEAN, DEVIATION = (0.5, 0.25, 0.75), (0.2, 0.5, 1.0)
TINY = {"embed_dim": 16, "depth": 1, "num_heads": 2, "patch_size": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ViT for 16 x 16 pixels with 5 classes, as timm saves one."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vit")
    model = timm.create_model("vit_tiny_patch16_224", img_size=16, num_classes=5, **TINY)
    save_file(model.state_dict(), path / "model.safetensors")
    config = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 5,
        "model_args": {"img_size": 16, **TINY},
        "pretrained_cfg": {
            "input_size": [3, 16, 16],
            "num_classes": 5,
            "mean": MEAN,
            "std": DEVIATION,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize(
    "architecture", ["vit_tiny_patch16_224", "deit3_small_patch16_224", "naflexvit_base_patch16_gap"]
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_random_weights_of_any_size(architecture: str, channels: int) -> None:
    with torch.device("meta"):
        model = timm_vit((channels, 24, 16), 7, architecture=architecture, patch_size=8)
        assert model(torch.rand(2, channels, 24, 16)).shape == (2, 7)
    assert set(model.pretrained_cfg["mean"]) == {0.0}
    assert set(model.pretrained_cfg["std"]) == {1.0}


def test_pretrained_weights_take_images_as_they_are(folder: Path) -> None:
    own = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    model = timm_vit((3, 16, 16), 5, weights=str(folder)).eval()
    images = torch.rand(2, 3, 16, 16)
    mean, deviation = (torch.tensor(numbers)[:, None, None] for numbers in (MEAN, DEVIATION))
    torch.testing.assert_close(model(images), own((images - mean) / deviation))
    assert tuple(model.pretrained_cfg["mean"]) == (0.0, 0.0, 0.0)


def test_a_grey_image_is_as_good_as_one_of_three_equal_channels(folder: Path) -> None:
    grey, colour = (timm_vit((channels, 16, 16), 5, weights=str(folder)).eval() for channels in (1, 3))
    images = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(grey(images), colour(images.expand(2, 3, 16, 16)))


def test_another_size_resamples_positions_and_other_classes_have_a_fresh_head(folder: Path) -> None:
    torch.manual_seed(1)
    model = timm_vit((3, 24, 32), 9, weights=str(folder))
    own = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert model(torch.rand(1, 3, 24, 32)).shape == (1, 9)
    assert model.pos_embed.shape == (1, 1 + 6 * 8, 16)
    block, theirs = model.blocks[0].attn.qkv.weight, own.blocks[0].attn.qkv.weight
    assert torch.equal(block, theirs)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_what_a_run_saved_is_loaded_again(folder: Path, tmp_path: Path, channels: int) -> None:
    model = timm_vit((channels, 16, 16), 5, weights=str(folder)).eval()
    write_layout(model, model.state_dict(), tmp_path)
    again = timm_vit((channels, 16, 16), 5, weights=str(tmp_path)).eval()
    images = torch.rand(1, channels, 16, 16)
    assert torch.equal(again(images), model(images))
    assert tuple(again.pretrained_cfg["mean"]) == (0.0,) * channels
    # timm itself reads it, too.
    assert torch.equal(
        timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()(images), model(images)
    )


def test_weights_of_other_channels_than_three_fit_their_own_alone(folder: Path, tmp_path: Path) -> None:
    model = timm_vit((1, 16, 16), 5, weights=str(folder))
    write_layout(model, model.state_dict(), tmp_path)
    with pytest.raises(
        GraftworkError, match=r"for images of 1 channels, and the images here have 3; weights"
    ):
        timm_vit((3, 16, 16), 5, weights=str(tmp_path))


def test_a_dry_run_builds_it_where_nothing_is(folder: Path) -> None:
    with torch.device("meta"):
        model = timm_vit((1, 16, 16), 7, weights=str(folder))
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"meta"}


def test_a_converted_models_folder_is_told_from_timms(folder: Path, tmp_path: Path) -> None:
    save_converted(convert(timm_vit((3, 16, 16), 5, weights=str(folder)), "s3"), tmp_path)
    with pytest.raises(
        GraftworkError, match=r"the attention of this model was replaced, .* load_converted of"
    ):
        timm_vit((3, 16, 16), 5, weights=str(tmp_path))


def test_patches_that_no_one_convolution_makes_take_no_normalisation(tmp_path: Path) -> None:
    naflex = timm.create_model("naflexvit_base_patch16_gap", num_classes=5, **TINY)
    write_layout(naflex, naflex.state_dict(), tmp_path)
    with pytest.raises(GraftworkError, match=r"NaFlexVit has no patches that one convolution makes"):
        timm_vit((3, 16, 16), 5, weights=str(tmp_path))


def test_patches_without_a_bias_have_no_place_for_a_mean(tmp_path: Path) -> None:
    model = timm.create_model("vit_base_patch16_clip_224", img_size=16, num_classes=5, **TINY)
    write_layout(model, model.state_dict(), tmp_path)
    with pytest.raises(GraftworkError, match=r"patches have no bias, into which its mean \(0.48"):
        timm_vit((3, 16, 16), 5, weights=str(tmp_path))


def test_a_mean_of_too_few_channels(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"]["mean"] = [0.5]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(
        GraftworkError, match=r"3 channels there, and its config.json gives the mean of 1 and"
    ):
        timm_vit((3, 16, 16), 5, weights=str(tmp_path))


@pytest.mark.parametrize("attention", ["sdpa", "s3"])
def test_it_is_converted_like_any_of_timms(folder: Path, attention: str) -> None:
    model = timm_vit((1, 16, 16), 5, weights=str(folder)).eval()
    images = torch.rand(2, 1, 16, 16)
    before = model(images)
    convert(model, attention)
    assert torch.equal(model(images), before) == (attention == "sdpa")


def test_normalisation_goes_into_the_map_of_patches() -> None:
    projection = nn.Conv2d(3, 8, 4, stride=4).double()
    images = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    mean, deviation = (
        torch.tensor(numbers, dtype=torch.float64)[:, None, None] for numbers in (MEAN, DEVIATION)
    )
    for bias in (projection.bias, None):
        weight, moved = without_normalisation(projection.weight, bias, MEAN, DEVIATION)
        expected = nn.functional.conv2d((images - mean) / deviation, projection.weight, bias, stride=4)
        found = nn.functional.conv2d(images, weight, moved, stride=4)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"architecture": "nope"}, r"architecture 'nope': timm cannot make it: Unknown model \(nope\)"),
        ({"architecture": "resnet18"}, r"architecture 'resnet18': timm cannot make it: .*img_size"),
        (
            {"architecture": "swin_tiny_patch4_window7_224"},
            "is a SwinTransformer; timm-vit builds VisionTransformer",
        ),
        ({}, r"images of 28 x 28 pixels do not divide into patches of 16; set patch_size to a number"),
        ({"weights": "nowhere"}, "weights 'nowhere' is neither a folder nor a registered name"),
    ],
)
def test_what_cannot_be_built_is_a_sentence(options: dict[str, str], sentence: str) -> None:
    with torch.device("meta"), pytest.raises(GraftworkError, match=sentence):
        timm_vit((1, 28, 28), 10, **options)


def test_options_out_of_range(folder: Path) -> None:
    with pytest.raises(ValueError, match="patch_size must be at least 1, got 0"):
        timm_vit((1, 28, 28), 10, patch_size=0)
    with pytest.raises(ValueError, match="patch_size must be left out with weights"):
        timm_vit((1, 28, 28), 10, patch_size=4, weights=str(folder))


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file(folder: Path, tmp_path: Path, lost: str) -> None:
    for file in folder.iterdir():
        if file.name != lost:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    # What would be unpickled if it were read.
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(GraftworkError, match=rf"has no {lost}, as which timm saves a model"):
        timm_vit((3, 16, 16), 5, weights=str(tmp_path))


def test_weights_that_are_damaged(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(GraftworkError, match="timm cannot make it"):
        timm_vit((3, 16, 16), 5, weights=str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(GraftworkError, match=r"config\.json: not valid JSON"):
        timm_vit((3, 16, 16), 5, weights=str(tmp_path))
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(GraftworkError, match=r"config\.json'? must hold an object"):
        timm_vit((3, 16, 16), 5, weights=str(tmp_path))
