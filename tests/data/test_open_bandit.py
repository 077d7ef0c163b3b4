"""The Open Bandit Dataset's CSV: a file in its layout, and its own where $GIPO_OBP_CSV or an installed obp has it."""

import csv
import os
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from gipo_cli.data import catalog
from gipo_cli.data.checks import check
from gipo_cli.data.options import ReadOptions
from gipo_cli.data.readers.open_bandit import OPEN_BANDIT
from gipo_cli.errors import DataError
from gipo_cli.logs import open_log

ITEMS, ROWS = 5, 20
NAMES = ("timestamp", "item_id", "position", "click", "propensity_score")
USERS = [f"user_feature_{i}" for i in range(2)]
AFFINITIES = [f"user-item_affinity_{i}" for i in range(ITEMS)]


def rows():
    rng = np.random.default_rng(0)
    return [
        {
            "": row, "timestamp": f"2019-11-24 00:00:{row:02}.004101+00:00", "item_id": row % (ITEMS - 1),
            "position": row % 3 + 1, "click": int(row % 7 == 0), "propensity_score": [0.087125, 1.0, 4.5e-05][row % 3],
            USERS[0]: ["81ce123c", "2d03db55"][row % 2], USERS[1]: "03a5648a",
            **{name: round(float(rng.exponential()), 3) for name in AFFINITIES},
        }
        for row in range(ROWS)
    ]  # fmt: skip


def write(path, changed=(), drop=()):
    found = rows()
    for row, name, value in changed:
        found[row][name] = value
    names = [name for name in found[0] if name not in drop]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(found)
    return path


def test_a_row_is_an_episode_whose_log_prob_is_that_of_the_propensity(tmp_path):
    log = catalog.load(str(write(tmp_path / "all.csv")))
    expected = rows()
    assert (log.transitions, log.episodes, log.action_space.n) == (ROWS, ROWS, ITEMS)  # an item nobody was shown counts
    assert log.terminated.all()
    assert log.actions.tolist() == [row["item_id"] for row in expected]
    assert log.rewards.tolist() == [row["click"] for row in expected]
    np.testing.assert_allclose(log.behaviour_log_probs, np.log([row["propensity_score"] for row in expected]))
    position = np.eye(3)[[row["position"] - 1 for row in expected]]
    user = np.eye(2)[[("2d03db55", "81ce123c").index(row[USERS[0]]) for row in expected]]
    affinity = [[row[name] for name in AFFINITIES] for row in expected]
    whole = np.concatenate([position, user, np.ones((ROWS, 1)), affinity], 1)
    np.testing.assert_array_equal(log.observations, whole.astype(np.float32))
    assert (log.convention, log.log_probs_origin) == ("categorical", "recorded")
    assert log.notes == ("each of the 20 recommendations is an episode of one step, of 5 items.",)
    assert [finding.severity for finding in check(log)] == ["ok"]


def test_the_directory_of_a_campaign_is_its_csv(tmp_path):
    write(tmp_path / "men.csv")
    (tmp_path / "item_context.csv").write_text(",item_id,item_feature_0\n0,0,0.1\n")
    assert catalog.load(str(tmp_path)).fingerprint == catalog.load(str(tmp_path / "men.csv")).fingerprint
    write(tmp_path / "women.csv")
    with pytest.raises(DataError, match=r"holds 2 campaigns \(men.csv, women.csv\); expected one"):
        catalog.load(str(tmp_path))


def test_a_file_without_affinities_has_the_items_that_were_shown(tmp_path):
    log = catalog.load(str(write(tmp_path / "all.csv", drop=AFFINITIES)))
    assert (log.action_space.n, log.observations.shape) == (ITEMS - 1, (ROWS, 6))


def test_another_column_may_hold_log_probs(tmp_path):
    log = catalog.load(str(write(tmp_path / "all.csv")), ReadOptions(log_prob_key="user-item_affinity_0"))
    assert log.behaviour_log_probs.tolist() == [row["user-item_affinity_0"] for row in rows()]
    with pytest.raises(DataError, match="has no column 'pscore'"):
        catalog.load(str(tmp_path / "all.csv"), ReadOptions(log_prob_key="pscore"))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("propensity_score", 0, "'propensity_score' of row 7 is 0; expected a probability above 0 and up to 1"),
        ("propensity_score", -1.5, "'propensity_score' of row 7 is -1.5; expected a probability above 0 and up to 1"),
        ("propensity_score", 1.01, "'propensity_score' of row 7 is 1.01; expected a probability above 0 and up to 1"),
        ("propensity_score", "", "'propensity_score' has a gap in row 7; expected a number"),
        ("propensity_score", "half", "'propensity_score' holds string; expected numbers"),
        ("item_id", -1, "'item_id' of row 7 is -1; expected the number of an item"),
        ("item_id", 1.5, "'item_id' of row 7 is 1.5; expected the number of an item"),
        ("item_id", 1e300, "'item_id' of row 7 is 1e[+]300; expected the number of an item"),
        ("click", "inf", "'rewards' holds a number that is not finite in row 7"),
        ("user-item_affinity_1", "nan", "'user-item_affinity_1' has a gap in row 7|'user-item_affinity_0' has a gap"),
    ],
)  # fmt: skip
def test_what_no_such_file_holds_is_refused_by_row(tmp_path, name, value, expected):
    with pytest.raises(DataError, match=expected):
        open_log(str(write(tmp_path / "all.csv", [(7, name, value)])))


def test_users_that_are_all_different_are_no_features(tmp_path):
    with (tmp_path / "all.csv").open("w") as file:
        file.write("item_id,position,click,propensity_score,user_feature_0\n")
        file.writelines(f"0,1,0,0.5,user{row}\n" for row in range(1001))
    with pytest.raises(DataError, match="'user_feature_0' has more than 1,000 different words"):
        catalog.load(str(tmp_path / "all.csv"))


def test_a_link_out_of_the_directory_is_refused(tmp_path):
    write(tmp_path / "outside.csv")
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "all.csv").symlink_to(tmp_path / "outside.csv")
    with pytest.raises(DataError, match=r"all.csv is a link that leaves .*log; nothing outside a dataset is read"):
        catalog.load(str(tmp_path / "log"))


@pytest.mark.parametrize("content", [b"", b'"', b"\x00" * 100, b"item_id,position\n", b"\xff\xfe", b"a" * 200_000])
def test_recognising_never_raises(tmp_path, content):
    (tmp_path / "log.csv").write_bytes(content)
    for place in (tmp_path, tmp_path / "log.csv", tmp_path / "missing.csv"):
        assert OPEN_BANDIT.recognises(place) is False


def own_files():
    """The CSVs that obp brings along, where it is installed or where $GIPO_OBP_CSV says."""
    if named := os.environ.get("GIPO_OBP_CSV"):
        place = Path(named)
        return sorted(p for p in place.rglob("*.csv") if p.name != "item_context.csv") if place.is_dir() else [place]
    try:
        files = metadata.files("obp") or []
    except metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())) for file in files if file.suffix == ".csv" and file.name != "item_context.csv"]


@pytest.mark.skipif(not own_files(), reason="neither obp is installed nor does GIPO_OBP_CSV name its files")
def test_the_datasets_own_files():
    for file in own_files():
        with file.open(newline="") as opened:
            expected = [(int(row["item_id"]), float(row["propensity_score"])) for row in csv.DictReader(opened)]
        log = catalog.load(str(file))
        check(log)
        assert log.actions.tolist() == [item for item, _ in expected]
        np.testing.assert_allclose(log.behaviour_log_probs, np.log([probability for _, probability in expected]))
        assert log.action_space.n == {"all": 80, "men": 34, "women": 46}[file.stem]
