"""A later bundle scores all history from kept features as it would by reading every picture."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from labs.small import past, twin_of

from agent import settings as settings_of
from agent.archive import Archive
from agent.demo.exporter import encode
from agent.labelled_import import make_loader
from agent.retrain.features import iter_rescored
from agent.service.composition import load_bundle, open_features, open_store
from agent.service.data_folder import clock
from agent.service.jobs.features import FeatureKeeper, is_fill_due
from model.ood.feature_arrays import FeatureBatch


def read_settings(lab):
    return settings_of.read(lab.folder / "agent.toml")


def run_json(lab, capsys, *words, code=0):
    capsys.readouterr()
    assert lab.agent(*words, "--json") == code
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_history_is_scored_from_what_was_kept_when_judged_and_what_was_filled_up(  # noqa: PLR0915
    own_lab, capsys
):
    (new,) = past(1, first_order=4000, seed=9, codes=("G7",))[:1]
    (own_lab.folder / "export" / new.name).write_bytes(encode(new.drawn((280, 210)), "png"))
    assert own_lab.agent("run", "--once") == 0
    settings = read_settings(own_lab)

    first = run_json(own_lab, capsys, "models", "features", "--fill", "--limit", "10")
    rest = run_json(own_lab, capsys, "models", "features", "--fill")
    again = run_json(own_lab, capsys, "models", "features", "--fill")
    status = run_json(own_lab, capsys, "models", "features")

    total = status["micrographs"]
    assert first["made"] == 10
    assert first["known"] >= 1  # what `run` judged was kept then
    assert (again["made"], again["known"], again["rest"]) == (0, total, 0)
    assert status["rows"] == total
    assert first["made"] + rest["made"] + first["known"] == total
    assert 0 < status["size_bytes"] <= 6000 * total

    with open_store(settings) as store:
        current = store.promotions.find_current()
        features = open_features(settings, store)
        classifier = load_bundle(settings, current)
        views = {view.id: view for view in store.results.iter_all()}
        scorer = classifier.build_feature_scorer()
        recipes = {view.recipe for view in views.values()}
        kept = {
            answer.id: scored for answer, scored in iter_rescored(store, features, scorer, recipes)
        }
        archive = Archive(settings.store.folder)
        fields = [
            make_loader(archive, view.sha256, view.page, view.um_per_px)()
            for view in views.values()
        ]
        read = dict(zip(views, classifier.classify(fields), strict=True))

    assert kept.keys() == views.keys()
    scaled: list[str] = []
    for key, prediction in read.items():
        scored = kept[key]
        if not views[key].um_per_px:
            assert scored.code is None  # each bundle assumes another scale for it
            continue
        assert scored.code == prediction.structure_code
        assert scored.prediction_set == prediction.prediction_set
        assert scored.probability == pytest.approx(prediction.probability, abs=1e-9)
        assert scored.p_whole is not None
        assert 0 < scored.p_whole <= 1
        scaled.append(key)
        assert scored.local_bundle == views[key].result.bundle
    assert len(scaled) > total / 2
    exact = scorer.score(FeatureBatch.stack([read[key].features for key in scaled]))
    assert np.allclose(exact.p_whole, [kept[key].p_whole for key in scaled])

    twin = twin_of(settings.store.folder / "bundles" / current).name
    compared = run_json(own_lab, capsys, "models", "reprocess", "--bundle", twin, "--from-features")
    assert compared["judged"] == len(scaled)
    assert compared["without_features"] == 0
    assert compared["flips"] == []
    assert "local strangeness" in compared["not_scored_again"]
    assert (
        own_lab.agent("models", "reprocess", "--bundle", twin, "--from-features", "--shadow") == 2
    )

    (shard,) = [path for form in features.list_forms() for path in features.list_shards(form)][:1]
    shard.write_bytes(shard.read_bytes()[:-9])
    assert "kept features cannot be used" in " ".join(run_json(own_lab, capsys, "verify")["notes"])
    assert run_json(own_lab, capsys, "models", "features", "--verify", code=3)["sound"] is False
    with open_store(settings) as store:
        assert FeatureKeeper(settings, store, now=lambda: clock().replace(hour=12)).tend() == ""
    assert run_json(own_lab, capsys, "models", "features", "--verify")["sound"] is True
    assert run_json(own_lab, capsys, "models", "features", "--fill")["made"] > 0
    assert run_json(own_lab, capsys, "models", "features")["rows"] == total


def test_a_bundle_on_another_network_does_not_score_these_features(taught_lab):
    settings = read_settings(taught_lab)
    with open_store(settings) as store:
        classifier = load_bundle(settings, store.promotions.find_current())
        scorer = classifier.build_feature_scorer()

    another = replace(scorer.form, made_by="pass 2 another")
    assert another.compute_id("1") != scorer.form.compute_id("1") != scorer.form.compute_id("2")
    assert scorer.form == classifier.feature_form


def test_missing_features_are_made_once_a_night_within_their_time(taught_lab):
    settings = read_settings(taught_lab)
    at = clock().replace(hour=2, minute=45)
    with open_store(settings) as store:
        assert is_fill_due(settings, store, now=at)
        assert not is_fill_due(settings, store, now=at.replace(hour=2, minute=15))
        assert not is_fill_due(settings, store, now=at.replace(hour=5))
