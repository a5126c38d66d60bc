"""What parts of a job file say, for a person."""

import pytest
from pydantic import TypeAdapter

from distill.contracts.ensemble import EnsembleSpec
from distill.contracts.objective import Term
from distill.contracts.scheme import SchemeSpec
from distill.contracts.words import ensemble_in_words, scheme_in_words, term_in_words

TERM, ENSEMBLE, SCHEME = TypeAdapter(Term), TypeAdapter(EnsembleSpec), TypeAdapter(SchemeSpec)
RAMP = {"start": 4, "stop": 1}


@pytest.mark.parametrize(
    ("term", "words"),
    [
        ({"kind": "labels", "weight": 0.1}, "0.1 x labels"),
        ({"kind": "soft_targets"}, "1 x soft targets (temperature 4)"),
        ({"kind": "soft_targets", "standardise": True}, "1 x soft targets (temperature 4; standardise)"),
        (
            {"kind": "soft_targets", "target": {"from": "served", "teacher": 1, "member": 0}},
            "1 x soft targets (temperature 4; from teacher 1, member 0)",
        ),
        ({"kind": "logits", "target": {"from": "peers"}}, "1 x logits (from peers)"),
        (
            {"kind": "hint", "pairs": [{"student": "stages.1", "teacher": "stages.2"}]},
            "1 x hint (stages.1 like stages.2)",
        ),
        ({"kind": "logits", "weight": {"kind": "linear"} | RAMP}, "4 to 1 x logits"),
        ({"kind": "logits", "weight": {"kind": "cosine"} | RAMP}, "4 to 1 along a cosine x logits"),
        (
            {"kind": "logits", "weight": {"kind": "linear", "begin": 0.2, "end": 0.8} | RAMP},
            "4 to 1 between 20 and 80 % x logits",
        ),
        (
            {"kind": "logits", "weight": {"kind": "steps", "values": [1, 0.5, 0], "at": [0.25, 0.5]}},
            "1 then 0.5 from 25 % then 0 from 50 % x logits",
        ),
    ],
)
def test_a_term_is_its_weight_its_name_and_what_was_set(term, words):
    assert term_in_words(TERM.validate_python(term)) == words


@pytest.mark.parametrize(
    ("ensemble", "words"),
    [
        ({"combine": "mean_probability"}, "combined by mean probability"),
        ({"combine": "geometric_mean"}, "combined by geometric mean"),
        ({"combine": "entropy"}, "weighed by entropy"),
        ({"combine": "each"}, "each heard on its own"),
        ({"combine": "weighted", "weights": [1, 0.5]}, "weighted 1, 0.5"),
        ({"combine": "per_member_heads"}, "a head for each member, aggregated by mean probability"),
        (
            {"combine": "per_member_heads", "aggregate": "mean_logit", "export": "folded"},
            "a head for each member, aggregated by mean logit, folded into one",
        ),
        (
            {"combine": "mean_logit", "members": {"kind": "random"}},
            "combined by mean logit, one random member a step",
        ),
        (
            {"combine": "mean_logit", "members": {"kind": "steps", "values": [[0, 1], [2]], "at": [0.5]}},
            "combined by mean logit, members 0, 1 then members 2 from 50 %",
        ),
    ],
)
def test_an_ensemble_says_how_its_members_are_heard_and_when(ensemble, words):
    assert ensemble_in_words(ENSEMBLE.validate_python(ensemble)) == words


CNN = {"source": "zoo", "name": "cnn"}


@pytest.mark.parametrize(
    ("scheme", "words"),
    [
        ({"kind": "offline"}, ""),
        ({"kind": "online", "peers": [CNN]}, "online with 1 peer"),
        (
            {"kind": "online", "peers": [CNN, CNN], "fusion": {"taps": ["a", "b", "c"]}},
            "online with 2 peers and a head on their joined features",
        ),
        ({"kind": "self"}, "self-taught"),
        (
            {"kind": "self", "average": {"decay": 0.99}, "view": {}},
            "self-taught with a moving average (decay 0.99) and a view of the same images (flip)",
        ),
    ],
)
def test_a_scheme_says_who_teaches_beside_the_pool(scheme, words):
    assert scheme_in_words(SCHEME.validate_python(scheme)) == words
