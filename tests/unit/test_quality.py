"""Answers that are not worth learning from are recognised, and each option can let them in again."""

import math

import pytest

from stages.data.examples import Quality
from stages.data.quality import is_english, is_refusal, unwanted
from stages.options import Sft


@pytest.mark.parametrize(
    ("quality", "reason"),
    [
        (Quality(), ""),
        (Quality(score=5.0, margin=0.5), ""),
        (Quality(score=4.5, margin=2.0), "score below 5"),
        (Quality(score=7.0, margin=0.0), "margin below 0.5"),
        (Quality(score=7.0, margin=-1.0), "margin below 0.5"),
        (Quality(score=math.nan, margin=math.nan), "no score"),
        (Quality(score=7.0, margin=math.nan), "no margin"),
        (Quality(english=False, score=9.0, margin=5.0), "not in English"),
        (Quality(refuses=True, score=9.0, margin=5.0), "refuses, or speaks as an AI"),
    ],
)
def test_by_default_an_answer_is_english_no_refusal_scored_well_and_better_than_the_rejected_one(
    quality: Quality, reason: str
) -> None:
    assert unwanted(quality, Sft()) == reason


@pytest.mark.parametrize(
    ("quality", "options"),
    [
        (Quality(score=2.0), Sft(min_score=2.0)),
        (Quality(score=2.0), Sft(min_score=0.0)),
        (Quality(score=math.nan), Sft(min_score=0.0)),
        (Quality(margin=-1.0), Sft(min_margin=0.0)),
        (Quality(margin=math.nan), Sft(min_margin=0.0)),
        (Quality(english=False), Sft(english_only=False)),
        (Quality(refuses=True), Sft(drop_refusals=False)),
    ],
)
def test_each_option_lets_in_what_it_is_about(quality: Quality, options: Sft) -> None:
    assert unwanted(quality, options) == ""


@pytest.mark.parametrize(
    "text",
    [
        "How do I cook a T-bone steak in the oven?",
        "sum([1, 2, 3, 4, 5]) / len([6, 7, 8, 9, 10])=",
        "7.5 / 2.5 + 4.2 * 1.8=",
        "Solve for θ: sin θ = 1/2",
        "List two cafés in Zürich, naïve or not.",
        "const timerRef = useRef(null); /* your logic */ return () => { clearTimeout(timerRef) }",
        "What is the meaning of 日本?",
        "Instruction: Canning fresh vegetables",
    ],
)
def test_english_code_and_formulas_are_english(text: str) -> None:
    assert is_english(text)


@pytest.mark.parametrize(
    "text",
    [
        "你現在是一個C#專家：請幫我在下面這段CODE加上LOG",
        "أكتبلي سكريبت اعلان لشركة هواتف محمولة",
        "Каква е столицата на България?",
        "Ποια είναι η πρωτεύουσα της Ελλάδας;",
        "usando flutter y el patron bloc con hive quiero guardar la informacion",
        "Quelle est la capitale de la France et pourquoi est-elle connue dans le monde ?",
        "Was ist die Hauptstadt von Frankreich und warum ist sie bekannt?",
        "Qual é a capital do Brasil e por que não é o Rio?",
        "Qual è la capitale della Francia e che cosa si mangia?",
        "Wat is de hoofdstad van Nederland en waarom wordt het niet Den Haag?",
        "Translate this sentence from Hindi: यह एक बहुत लंबा वाक्य है जिसे कोई पढ़ना नहीं चाहता",
    ],
)
def test_other_scripts_and_the_most_frequent_languages_in_latin_letters_are_not(text: str) -> None:
    assert not is_english(text)


@pytest.mark.parametrize(
    "answer",
    [
        "As an AI language model, I cannot have an opinion.",
        "Hello! As an AI assistant, it is my responsibility to be accurate.",
        "I’m sorry, but I can’t assist with that.",
        "I'm sorry but as an AI language model, I cannot write that.",
        "I apologize, but I cannot provide a translation.",
        "Unfortunately, I do not know.",
        "I cannot run Python code.",
        "I am unable to browse the internet.",
        "I'm just an AI, I don't have opinions.",
        "Of course! However, I must remind you that I'm just an AI and not a doctor.",
    ],
)
def test_refusals_and_answers_that_speak_as_an_ai_are_recognised(answer: str) -> None:
    assert is_refusal(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "No",
        "13",
        "Blue, as the sky is.",
        "Unfortunately, it is not possible to calibrate a part of the screen.",
        "I apologize, but it's important to note that avocados are not food for rabbits.",
        "A language model predicts the next token; an AI may use one.",
        f"{'Nonviolence is a way of life. ' * 10} As an AI assistant, I say so.",
        "She said: I cannot come.",
    ],
)
def test_answers_about_ai_and_bad_news_are_not(answer: str) -> None:
    assert not is_refusal(answer)
