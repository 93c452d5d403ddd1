"""The bundle in the package is whole, small, and of use to a demonstration alone."""

import hashlib
import io
import json
import zipfile

import numpy as np
import pytest
from labs.small import past, write_labelled

from agent.cli.app import main
from agent.cli.start.demo import train_bundle
from agent.demo import bundle as shipped
from agent.demo.demo import DemoFolders
from agent.errors import UnusableBundleError
from agent.retrain.bundle_registry import allow_demo_bundles
from agent.service.active_bundle import CurrentBundle
from agent.service.composition import load_bundle, open_store
from agent.service.data_folder import bundles_folder, clock
from agent.settings import read
from agent.settings.root import RECIPE
from model import BundleError, read_manifest, verify_bundle


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return folder / shipped.unpack_bundle(folder)


@pytest.fixture
def settings(tmp_path, unpacked):
    """A lab into whose folder of bundles the demonstration's was copied by hand."""
    (tmp_path / "agent.toml").write_text('[store]\nfolder = "data"\n', encoding="utf-8")
    lab = read(tmp_path / "agent.toml")
    copied = bundles_folder(lab) / unpacked.name
    copied.mkdir(parents=True)
    for file in unpacked.iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    return lab


def run(settings, *words):
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(settings.file), *map(str, words)])
    return int(ended.value.code or 0)


def test_it_takes_less_than_3_mb_and_unpacks_to_what_its_card_names(unpacked):
    card = shipped.read_card()
    manifest = verify_bundle(unpacked)

    assert shipped.PACKED.stat().st_size + shipped.CARD.stat().st_size < 3_000_000
    assert card["packed_sha256"] == hashlib.sha256(shipped.PACKED.read_bytes()).hexdigest()
    assert card["name"] == manifest.name
    assert card["sha256"] == {
        name: digest for name, digest in manifest.files.items() if name.endswith("safetensors")
    }
    assert {"seed", "commit", "command", "figures_on_drawn_micrographs"} <= card.keys()


def test_it_is_named_for_the_demo_only(unpacked):
    manifest = read_manifest(unpacked)

    assert manifest.is_for_demo
    assert manifest.recipe == RECIPE
    assert manifest.facts["notes"][0].startswith("Drawn, for the demo only")


def test_it_holds_no_network_but_that_of_the_lite0_package():
    with zipfile.ZipFile(shipped.PACKED) as packed:
        names = set(packed.namelist())
        sizes = {name: len(packed.read(name)) for name in names}

    assert shipped.NETWORK not in names
    assert sizes[f"{shipped.NETWORK}{shipped.HEADER}"] < 100_000
    assert not [name for name in names if name.endswith((".pkl", ".pt", ".pth"))]


def test_unpacking_again_leaves_it_as_it_is(unpacked):
    before = {file.name: file.stat().st_mtime_ns for file in unpacked.iterdir()}

    name = shipped.unpack_bundle(unpacked.parent)

    assert name == unpacked.name
    assert {file.name: file.stat().st_mtime_ns for file in unpacked.iterdir()} == before
    assert [path.name for path in unpacked.parent.iterdir()] == [name]


def test_a_changed_package_is_refused_and_nothing_is_left_in_place(tmp_path):
    changed = io.BytesIO()
    with zipfile.ZipFile(shipped.PACKED) as packed, zipfile.ZipFile(changed, "w") as other:
        for name in packed.namelist():
            content = packed.read(name)
            if name == "heads.safetensors":
                content = content[:-1] + bytes([content[-1] ^ 1])
            other.writestr(name, content)
    (tmp_path / "drawn.bundle").write_bytes(changed.getvalue())
    (tmp_path / "cut.bundle").write_bytes(changed.getvalue()[:1000])

    with pytest.raises(UnusableBundleError, match=r"heads\.safetensors"):
        shipped.unpack_bundle(tmp_path / "bundles", tmp_path / "drawn.bundle")
    with pytest.raises(UnusableBundleError, match="damaged"):
        shipped.unpack_bundle(tmp_path / "bundles", tmp_path / "cut.bundle")
    assert not list((tmp_path / "bundles").glob("2*"))


def test_symmetric_matrices_come_back_from_their_halves():
    matrices = np.array([[[1, 2, 3], [2, 4, 5], [3, 5, 6]]], np.float32)
    rows, columns = np.triu_indices(3)

    restored = shipped.restore_matrices(matrices[:, rows, columns])

    assert restored.tolist() == matrices.tolist()


def test_a_lab_cannot_add_or_promote_it(settings, unpacked, capsys):
    name = unpacked.name

    codes = [
        run(settings, "models", "add", unpacked),
        run(settings, "models", "promote", name, "--by", "Ada", "--reason", "it is there"),
    ]

    assert codes == [2, 2]
    assert capsys.readouterr().err.count("is drawn, for the demo only") == 2
    with open_store(settings) as store:
        assert store.promotions.find_current() is None


def test_a_lab_whose_database_names_it_classifies_nothing_with_it(settings, unpacked):
    with open_store(settings) as store:
        store.promotions.promote(unpacked.name, by="Ada", reason="by hand", at=clock(), metrics={})
        current = CurrentBundle(settings, store)
        current.refresh()

        assert current.classifier is None
        assert "is drawn, for the demo only" in str(current.problem)


def test_a_demonstration_may_use_it(settings, unpacked):
    with pytest.raises(BundleError, match="no demonstration"):
        load_bundle(settings, unpacked.name)

    allow_demo_bundles(settings.store.folder)

    assert load_bundle(settings, unpacked.name).name == unpacked.name


def test_lists_of_bundles_say_what_it_is(settings, unpacked, capsys):
    run(settings, "models", "list", "--json")

    (row,) = json.loads(capsys.readouterr().out)["bundles"]
    assert row["said"].endswith("drawn, for the demo only")


@pytest.mark.slow
def test_a_demonstration_begun_without_training_trains_when_asked_and_once(
    settings, unpacked, tmp_path, capsys
) -> None:
    write_labelled(past(5, first_order=1000, seed=1), tmp_path / "labelled")
    allow_demo_bundles(settings.store.folder)
    with open_store(settings) as store:
        store.promotions.promote(unpacked.name, by="x", reason="drawn", at=clock(), metrics={})

        train_bundle(settings, store, DemoFolders(tmp_path))
        trained = store.promotions.find_current()
        train_bundle(settings, store, DemoFolders(tmp_path))

        assert trained != unpacked.name
        assert store.promotions.find_current() == trained
        assert f"{trained} was trained here" in capsys.readouterr().err
