"""Files of prompts: what they say, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from graftwork import GraftworkError
from graftwork_text.tasks.fine_tuning.prompts import PromptFile, shipped_prompts

Write = Callable[[str], str]
PACKAGE = "graftwork_text.tasks.classification"
LABELS = ("negative", "positive")
WORDS = '\n[labels]\nnegative = "terrible"\npositive = "great"\n'


def test_the_place_of_the_label_splits_the_template(prompt_file: Write) -> None:
    prompt = PromptFile(
        prompt_file('template = "{text} It was  {label}."' + WORDS), package=PACKAGE
    ).for_words("masked-lm", ("text",), LABELS)
    assert (prompt.before, prompt.space, prompt.after) == ("{text} It was", "  ", ".")
    assert prompt.words == ("terrible", "great")
    assert prompt.filled(prompt.before, ["{Braces} {label}."]) == "{Braces} {label}. It was"
    assert prompt.without_content(prompt.before) == " It was"


def test_words_follow_the_labels_of_the_data_and_not_the_file(prompt_file: Write) -> None:
    file = PromptFile(prompt_file('template = "{text} {label}"' + WORDS), package=PACKAGE)
    assert file.for_words("causal-lm", ("text",), LABELS[::-1]).words == ("great", "terrible")


def test_a_scoring_may_have_its_own_template_and_labels(prompt_file: Write) -> None:
    file = PromptFile(
        prompt_file(
            'template = "{text} {label}"\n[labels]\nnegative = "terrible"\npositive = "great"\n'
            '[causal-lm]\ntemplate = "Review: {text} Verdict: {label}"\n'
            '[causal-lm.labels]\nnegative = "thumbs down"\npositive = "thumbs up"\n'
        ),
        package=PACKAGE,
    )
    assert file.for_words("masked-lm", ("text",), LABELS).before == "{text}"
    own = file.for_words("causal-lm", ("text",), LABELS)
    assert (own.before, own.words) == ("Review: {text} Verdict:", ("thumbs down", "thumbs up"))


def test_sentences_for_similarity(prompt_file: Write) -> None:
    file = PromptFile(prompt_file('[similarity]\nlabel = "This is {label}."\n' + WORDS), package=PACKAGE)
    sentences = file.for_sentences(("premise", "hypothesis"), LABELS)
    assert sentences.sentences == ("This is terrible.", "This is great.")
    assert sentences.filled(("One.", "Two.")) == "One. Two."


@pytest.mark.parametrize("name", shipped_prompts(PACKAGE))
def test_shipped_files_fit_some_data(name: str) -> None:
    fields = ("premise", "hypothesis") if name == "entailment" else ("text",)
    labels = {
        "entailment": ("entailment", "neutral", "contradiction"),
        "sentiment-was": ("rotten", "fresh"),
        "topic": ("business", "entertainment", "politics", "sports", "tech"),
    }[name]
    file = PromptFile(name, package=PACKAGE)
    for scoring in ("masked-lm", "causal-lm"):
        assert len(file.for_words(scoring, fields, labels).words) == len(labels)
    assert "{" not in file.for_words("causal-lm", fields, labels).after
    assert len(file.for_sentences(fields, labels).sentences) == len(labels)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('template = "{text}"' + WORDS, r"template must hold {label} once, got '{text}'"),
        ('template = "{txt} {label}"' + WORDS, r"names the field {txt}, .* did you mean 'text'\?"),
        ('template = "Great {label}"' + WORDS, r"holds no text of the data; its fields are {text}"),
        ('template = "{text {label}"' + WORDS, r"template '{text '"),
        ("templat = 1" + WORDS, r"unknown key 'templat', did you mean 'template'\?"),
        ("template = 1" + WORDS, r"template must be a string for causal-lm; got 1"),
        (WORDS, r"template must be a string for causal-lm; it is missing"),
        ('template = "{text} {label}"', r"\[labels\] must give a string for each label; got None"),
        (
            'template = "{text} {label}"\n[labels]\nneg = "bad"',
            r"no words for negative, positive; .* for neg",
        ),
        (
            'template = "{text} {label}"\n[labels]\nnegative = "so"\npositive = " so"',
            r"two labels of the data the same words: negative = 'so', positive = 'so'",
        ),
        ('causal-lm = "x"', r"causal-lm must be a table, got 'x'"),
        ("template = ", r"not a TOML file"),
    ],
)
def test_mistakes_name_the_key(prompt_file: Write, content: str, message: str) -> None:
    with pytest.raises(GraftworkError, match=message):
        PromptFile(prompt_file(content), package=PACKAGE).for_words("causal-lm", ("text",), LABELS)


def test_a_label_sentence_holds_no_text_of_the_data(prompt_file: Write) -> None:
    file = PromptFile(prompt_file('[similarity]\nlabel = "{text} is {label}"' + WORDS), package=PACKAGE)
    with pytest.raises(GraftworkError, match=r"must hold {label} once and no other field"):
        file.for_sentences(("text",), LABELS)


def test_a_name_that_is_neither_shipped_nor_a_file() -> None:
    with pytest.raises(GraftworkError, match=r"'sentiment-wa' is neither .*, did you mean 'sentiment-was'"):
        PromptFile("sentiment-wa", package=PACKAGE)
