"""The pretrained models of packages through every promise of conversion, with every registered mixer."""

from __future__ import annotations

import pytest
import torch
import transformers

from graftwork import GraftworkError, Kind, choose, get_registry
from graftwork_attention.conversion import convert, load_converted, save_converted
from graftwork_attention.models.timm_vit import timm_vit

pytestmark = pytest.mark.realdata
MIXERS = [get_registry().name_of(entry) for entry in get_registry().entries(Kind.ATTENTION)]
TOKENS = torch.tensor([32, 19, 7])
REAL = torch.arange(int(TOKENS.max())) < TOKENS[:, None]
IDS = torch.randint(1000, 30000, REAL.shape, generator=torch.Generator().manual_seed(0)).where(REAL, 0)
IMAGES = torch.rand(4, 1, 56, 56, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def minilm():
    try:
        folder = choose(Kind.WEIGHTS, "minilm")()
    except GraftworkError as error:  # of graftwork-text, and fetched
        pytest.skip(str(error))
    return transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture
def vit():
    torch.manual_seed(0)
    try:
        return timm_vit((1, 56, 56), 10, weights="vit-s-focus").eval()
    except GraftworkError as error:
        if "could not fetch" in str(error):
            pytest.skip(str(error))
        raise


def states(model, rows=slice(None), tokens=None):
    """What MiniLM says of the real tokens of rows, padded to a number of them."""
    ids, mask = IDS[rows, :tokens], REAL[rows, :tokens].long()
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask).last_hidden_state[mask.bool()]


def logits(model):
    with torch.no_grad():
        return model(IMAGES)


def keeps_its_promises(model, outputs, folder):
    own = outputs(model)
    first = outputs(convert(model, "sdpa", max_len=64))
    torch.testing.assert_close(first, own, rtol=1e-4, atol=1e-4)
    for mixer in MIXERS:
        found = outputs(convert(model, mixer, max_len=64))
        assert found.isfinite().all()
        if mixer != "sdpa":
            assert (found - own).abs().max() > 0.01, f"{mixer} changed nothing"
        save_converted(model, folder / mixer)
        assert torch.equal(outputs(load_converted(folder / mixer)), found), mixer
        assert torch.equal(outputs(convert(model, "sdpa", max_len=64)), first), mixer


def test_a_vision_transformer(vit, tmp_path):
    keeps_its_promises(vit, logits, tmp_path)


def test_a_sentence_encoder(minilm, tmp_path):
    keeps_its_promises(minilm, states, tmp_path)


@pytest.mark.parametrize("mixer", MIXERS)
def test_padded_sentences_give_what_they_give_alone(minilm, mixer):
    convert(minilm, mixer, max_len=64)
    together = states(minilm).split(TOKENS.tolist())
    for row, count in enumerate(TOKENS.tolist()):
        alone = states(minilm, slice(row, row + 1), count)
        torch.testing.assert_close(together[row], alone, rtol=1e-4, atol=1e-4)
