"""A labelled folder is taken in once, by the pipeline, and what it cannot use is named."""

import os
from datetime import UTC, datetime

import cv2
import pytest
from labs.shell import Shell

from agent.archive import Archive
from agent.demo.micrograph import draw_micrograph
from agent.errors import StoreError, UsageError
from agent.imaging.pool import CropPool
from agent.labelled_import import ImportOutcome, ManifestProvenance, import_folder, list_labelled
from agent.pipeline import Pipeline
from agent.retrain import collect
from agent.store import Store, store_url
from agent.triage import Policy
from model import default_taxonomy

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def pool():
    with CropPool(workers=1) as pool:
        yield pool


@pytest.fixture
def store(tmp_path):
    with Store.open(store_url(tmp_path / "data"), site="Plant 1", agent="test") as store:
        yield store


def test_labels_for_orders_are_imported_by_a_lead_alone(tmp_path, capsys):
    shell = Shell(tmp_path, capsys)
    shell.write("agent.toml", '[site]\nname = "Plant 1"\n\n[orders]\nleads = ["R. Stahl"]\n')
    picture(tmp_path / "lab/G8/a.png")

    code, words = shell.agent("import", tmp_path / "lab", "--for-orders", "--by", "Ben")

    assert code == 2
    assert "Ben is not a lead" in words
    assert list(shell.lab.store.labelled_micrographs.list_all()) == []


@pytest.fixture
def take(tmp_path, store, pool):
    archive = Archive(tmp_path / "data")

    def take(folder, manifest=None, policy=None, **how):
        listing = list_labelled(folder, default_taxonomy(), manifest)
        pipeline = Pipeline(
            store=store,
            archive=archive,
            pool=pool,
            classifier=None,
            policy=policy or Policy(),
            now=lambda: NOON,
            sources={listing.source: ManifestProvenance()},
        )
        steps = list(
            import_folder(
                listing, store=store, pipeline=pipeline, now=lambda: NOON, by="E. Meier", **how
            )
        )
        return steps[-1]

    return take


def picture(path, code="G8", seed=0, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = draw_micrograph(code, seed=seed, size=(320, 240), border=False, **{"bar": None, **how})
    path.write_bytes(cv2.imencode(".png", drawn.pixels[..., ::-1])[1].tobytes())
    return path


def names(unusable):
    return {one.file: one.sentence for one in unusable}


def test_a_folder_per_code_gives_each_picture_that_code(tmp_path, take, store):
    picture(tmp_path / "lab/G8/a.png", "G8", 1)
    picture(tmp_path / "lab/g 9–10/deep/b.png", "G9-10", 2)

    imported = take(tmp_path / "lab")

    assert imported == ImportOutcome(
        labelled=2, unchanged=0, codes={"G8": 1, "G9-10": 1}, unusable=()
    )
    assert sorted(
        (labelled_micrograph.label.code, labelled_micrograph.label.by, labelled_micrograph.origin)
        for labelled_micrograph in store.labelled_micrographs.list_all()
    ) == [
        ("G8", "E. Meier", "import"),
        ("G9-10", "E. Meier", "import"),
    ]


def test_an_imported_micrograph_is_no_control_sample(tmp_path, take, store):
    for n in range(3):
        picture(tmp_path / f"lab/G8/{n}.png", "G8", n)

    take(tmp_path / "lab", policy=Policy(control_share=1.0))

    found = collect(store, Archive(tmp_path / "data"), default_taxonomy())
    assert (len(found.examples), found.control) == (3, frozenset())
    assert found.sides(None)["test"] == ()  # else one would pull its whole group there


def test_an_import_is_in_no_night_and_in_no_queue(tmp_path, take, store):
    picture(tmp_path / "lab/G8/a.png")

    take(tmp_path / "lab")

    assert store.review_queue.list_micrographs() == []
    assert (
        store.results.list_between(
            datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
        )
        == []
    )


def test_importing_the_same_folder_again_changes_nothing(tmp_path, take, store):
    picture(tmp_path / "lab/G8/a.png")
    take(tmp_path / "lab")

    again = take(tmp_path / "lab")

    assert (again.labelled, again.unchanged) == (0, 1)
    assert len(store.labelled_micrographs.list_all()) == 1


def test_a_picture_that_lies_in_the_folder_twice_is_labelled_once(tmp_path, take, store):
    one = picture(tmp_path / "lab/G8/a.png", "G8", 1)
    (tmp_path / "lab/G8/b.png").write_bytes(one.read_bytes())

    imported = take(tmp_path / "lab")
    (micrograph,) = store.results.iter_all()
    view = store.results.find(micrograph.id)

    assert (imported.labelled, imported.unchanged) == (1, 1)
    assert [label.code for label in view.labels] == ["G8"]


def test_a_picture_moved_to_another_code_is_labelled_anew(tmp_path, take, store):
    picture(tmp_path / "lab/G8/a.png")
    picture(tmp_path / "lab/G7/b.png", "G7", 2)
    take(tmp_path / "lab")
    (tmp_path / "lab/G8/a.png").rename(tmp_path / "lab/G7/a.png")

    again = take(tmp_path / "lab")

    assert (again.labelled, again.unchanged) == (1, 1)
    assert sorted(
        labelled_micrograph.label.code
        for labelled_micrograph in store.labelled_micrographs.list_all()
    ) == ["G7", "G7"]


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(tmp_path, take, store):
    picture(tmp_path / "lab/G8/a.png")
    (tmp_path / "lab/G8/empty.png").write_bytes(b"")
    (tmp_path / "lab/G8/letter.png").write_bytes(b"Dear colleague, " * 50)

    imported = take(tmp_path / "lab")

    assert imported.labelled == 1
    said = names(imported.unusable)
    assert said.keys() == {"G8/empty.png", "G8/letter.png"}
    assert "not_an_image" in said["G8/letter.png"]


def test_a_folder_that_is_no_code_is_named_with_how_much_is_in_it(tmp_path, take):
    picture(tmp_path / "lab/G8/a.png")
    picture(tmp_path / "lab/Q8/b.png", seed=2)
    picture(tmp_path / "lab/Q8/c.png", seed=3)
    picture(tmp_path / "lab/d.png", seed=4)

    said = names(take(tmp_path / "lab").unusable)

    assert said.keys() == {"Q8/", "."}
    assert "2 pictures left out" in said["Q8/"]


def test_one_picture_under_two_codes_gets_neither(tmp_path, take, store):
    picture(tmp_path / "lab/G8/a.png")
    picture(tmp_path / "lab/G7/b.png")
    picture(tmp_path / "lab/G7/c.png", "G7", 3)

    imported = take(tmp_path / "lab")

    assert names(imported.unusable).keys() == {"G8/a.png", "G7/b.png"}
    assert [
        labelled_micrograph.label.code
        for labelled_micrograph in store.labelled_micrographs.list_all()
    ] == ["G7"]


def test_a_manifest_tells_code_rater_criterion_scale_and_keeps_other_columns(tmp_path, take, store):
    picture(tmp_path / "lab/pictures/a.png")
    manifest = tmp_path / "lab/labels.csv"
    manifest.write_text(
        "File;Subtype;Size;Specimen;Order;um_per_px;Criterion;Rater;Furnace\n"
        "pictures\\a.png;G;8;S1;4711;0,2;max;A. Ö.;O3\n",
        encoding="cp1252",
    )

    imported = take(tmp_path / "lab", manifest)

    (label,) = store.labelled_micrographs.list_all()
    view = store.results.find(label.id)
    assert imported.unusable == ()
    assert (label.label.code, label.label.criterion, label.label.by) == ("G8", "max", "E. Meier")
    assert view.label.comment == "rater in the manifest: A. Ö."
    assert (view.process_data["specimen"], view.process_data["order"]) == ("S1", "4711")
    assert view.process_extra["furnace"] == "O3"
    assert (view.um_per_px, view.um_per_px_source) == (0.2, "settings")


def test_another_specimen_for_a_known_picture_is_named_and_taken_over_only_when_asked(
    tmp_path, take, store
):
    picture(tmp_path / "lab/a.png")
    manifest = tmp_path / "lab/labels.csv"
    manifest.write_text("file,code,specimen\na.png,G8,S1\n", encoding="utf-8")
    take(tmp_path / "lab", manifest)
    manifest.write_text("file,code,specimen\na.png,G8,S2\n", encoding="utf-8")
    (label,) = store.labelled_micrographs.list_all()

    kept = take(tmp_path / "lab", manifest)
    before = store.results.find(label.id).process_data["specimen"]
    replaced = take(tmp_path / "lab", manifest, update=True)
    again = take(tmp_path / "lab", manifest)

    assert names(kept.changed) == names(replaced.changed) == {"a.png": "specimen S1 becomes S2"}
    assert (before, store.results.find(label.id).process_data["specimen"]) == ("S1", "S2")
    assert again.changed == ()
    assert [act.actor for act in store.audit_log.iter_acts("micrograph.described")] == ["E. Meier"]


def test_what_a_known_picture_was_filed_with_stays_whatever_a_manifest_says(tmp_path, take, store):
    picture(tmp_path / "lab/a.png")
    manifest = tmp_path / "lab/labels.csv"
    manifest.write_text("file,code,specimen,microscope,furnace\na.png,G8,S1,LOM-7,O3\n")
    take(tmp_path / "lab", manifest)
    manifest.write_text("file,code,specimen,microscope,furnace\na.png,G8,S2,LOM-8,O4\n")
    (label,) = store.labelled_micrographs.list_all()

    updated = take(tmp_path / "lab", manifest, update=True)

    kept = store.results.find(label.id)
    named = [kept.process_data["specimen"], kept.process_data["microscope"]]
    assert [*named, kept.process_extra["furnace"]] == ["S2", "LOM-7", "O3"]
    assert "microscope stays LOM-7, as an image is filed with it" in names(updated.changed)["a.png"]
    assert store.checks.compare_rows()[0] == []
    with pytest.raises(UsageError, match="microscope never changes once an image is filed"):
        store.results.describe(
            label.id, {"microscope": "LOM-8"}, by="Ada", at=datetime(2026, 11, 25, tzinfo=UTC)
        )


def test_what_took_a_labelled_picture_is_known_when_its_strangeness_is_judged(
    tmp_path, take, store
):
    picture(tmp_path / "lab/a.png")
    manifest = tmp_path / "lab/labels.csv"
    manifest.write_text("file,code,microscope,um_per_px\na.png,G8,LOM-07,0.2\n")

    take(tmp_path / "lab", manifest)

    (case,) = collect(store, Archive(tmp_path / "data"), default_taxonomy()).examples
    assert case.load().microscope == "LOM-07"


def test_any_column_of_the_manifest_may_group(tmp_path, take, store):
    for name in ("a", "b", "c"):
        picture(tmp_path / f"lab/{name}.png", seed=ord(name))
    manifest = tmp_path / "lab/labels.csv"
    manifest.write_text("file,code,specimen,furnace\na.png,G8,1,O3\nb.png,G8,2,O3\nc.png,G8,3,\n")
    take(tmp_path / "lab", manifest)

    cases = collect(store, Archive(tmp_path / "data"), default_taxonomy(), group_by="furnace")

    assert sorted(case.group for case in cases.examples) == ["/3", "O3", "O3"]
    assert cases.columns["furnace"] == 2


def test_an_archived_crop_that_is_damaged_is_one_sentence(tmp_path, take, store):
    picture(tmp_path / "lab/G8/a.png")
    take(tmp_path / "lab")
    archive = Archive(tmp_path / "data")
    (case,) = collect(store, archive, default_taxonomy()).examples
    archive.crop_path(case.key, 0).write_bytes(b"no picture")

    with pytest.raises(StoreError, match="agent verify names what is damaged"):
        case.load()


def test_every_row_that_cannot_be_used_is_named_with_its_line(tmp_path, take):
    picture(tmp_path / "lab/a.png")
    picture(tmp_path / "lab/b.png", seed=2)
    (tmp_path / "m.csv").write_text(
        "file,code,criterion,um_per_px\n"
        "a.png,G8,,\n"
        "b.png,Z3,,\n"
        "gone.png,G8,,\n"
        "../a.png,G8,,\n"
        "b.png,G8,often,\n"
        "b.png,G8,mean,wide\n",
    )

    imported = take(tmp_path / "lab", tmp_path / "m.csv")

    sentences = [f"{one.file}: {one.sentence}" for one in imported.unusable]
    assert imported.labelled == 1
    assert len(sentences) == 5
    assert any("line 3" in s and "Z3" in s for s in sentences)
    assert any("gone.png" in s and "no such file" in s for s in sentences)
    assert any("'../a.png'" in s for s in sentences)
    assert any("often" in s for s in sentences)
    assert any("wide" in s for s in sentences)


def test_one_file_with_two_codes_in_a_manifest_gets_neither(tmp_path, take, store):
    picture(tmp_path / "lab/a.png")
    (tmp_path / "m.csv").write_text("file,code\na.png,G8\na.png,G7\n")

    imported = take(tmp_path / "lab", tmp_path / "m.csv")

    assert names(imported.unusable) == {"a.png": "is G8 in one line and G7 in line 3."}
    assert store.labelled_micrographs.list_all() == []


UNUSABLE = [
    (b"", "empty"),
    (b"name,code\na.png,G8\n", "'file'"),
    (b"file,subtype\na.png,G\n", "'code'"),
    (b"file,code,code\na.png,G8,G8\n", "twice"),
    (b"PK\x03\x04\0\0\0", "no CSV"),
]


def test_a_manifest_that_cannot_be_used_is_refused(tmp_path):
    for text, complaint in UNUSABLE:
        (tmp_path / "m.csv").write_bytes(text)

        with pytest.raises(UsageError, match=complaint):
            list_labelled(tmp_path, default_taxonomy(), tmp_path / "m.csv")


def test_a_csv_in_place_of_the_folder_is_told_where_it_belongs(tmp_path):
    (tmp_path / "labels.csv").write_text("file,code\na.png,G8\n")

    with pytest.raises(UsageError, match=r"labels\.csv: a folder is needed.*--manifest"):
        list_labelled(tmp_path / "labels.csv", default_taxonomy())


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_with_nothing_labelled_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()

    with pytest.raises(UsageError, match=name):
        list_labelled(tmp_path / name, default_taxonomy())


def test_junk_beside_the_pictures_is_passed_over(tmp_path):
    picture(tmp_path / "lab/G8/a.png")
    for junk in ("G8/Thumbs.db", "G8/.DS_Store", "G8/~$a.png", "G8/notes.txt"):
        (tmp_path / "lab" / junk).write_bytes(b"x")

    listing = list_labelled(tmp_path / "lab", default_taxonomy())

    assert [file.relative for file in listing.files] == ["G8/a.png"]
    assert listing.unusable == ()
    assert os.sep in str(listing.folder)
