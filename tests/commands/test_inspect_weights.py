import io
import json
import pickle
import zipfile

import numpy as np
import pytest

SPLITS = ["all", "held_in", "held_out", "positive_advantage", "negative_advantage"]


def columns(n=400, episodes=20):
    generator = np.random.default_rng(0)
    episode = np.repeat(np.arange(episodes), n // episodes)
    return {
        "log_ratio": (0.3 * generator.standard_normal(n) - 0.045).astype(np.float32),
        "advantage": generator.standard_normal(n).astype(np.float32),
        "episode": episode,
        "held_out": episode >= episodes // 2,
        "step": np.asarray(7),
    }


@pytest.fixture
def run(tmp_path):
    def make(**changed):
        place = tmp_path / "run"
        place.mkdir()
        (place / "run.json").write_text("{}")
        (place / "config.toml").write_text('objective = "gipo"\n[settings]\nsigma = 1.0\n')
        np.savez(place / "log_ratios.npz", **(columns() | changed))
        return place

    return make


def numbers(value):
    if isinstance(value, dict):
        return [n for item in value.values() for n in numbers(item)]
    return [value]


def test_json_has_the_promised_keys(gipo, run):
    place = run()
    result = gipo("inspect-weights", place, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    assert list(document) == [
        "run",
        "log_probs",
        "splits",
        "horizon",
        "by_time",
        "by_episode",
        "by_dimension",
        "by_version",
        "surrogate",
        "sigma_curve",
        "histogram",
        "findings",
        "verdict",
    ]
    assert list(document["splits"]) == SPLITS
    weight = ["mean", "std", "max", "ess", "ess_fraction"]
    quantiles = ["0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99"]
    for split in document["splits"].values():
        assert list(split) == [
            "transitions", "raw", "trust_weighted", "kl", "log_ratio", "ppo_dead_fraction", "outside_clip_fraction",
            "suppressed_fraction",
        ]  # fmt: skip
        assert list(split["raw"]) == [*weight, "pareto_k", "quantiles"]
        assert list(split["trust_weighted"]) == [*weight, "bound"]
        assert list(split["kl"]) == ["k1", "k3"]
        assert list(split["log_ratio"]) == ["mean", "std", "second_moment", "quantiles"]
        assert list(split["raw"]["quantiles"]) == list(split["log_ratio"]["quantiles"]) == quantiles
    assert list(document["histogram"]) == ["edges", "log_ratio", "raw", "trust_weighted"]
    assert all(sum(document["histogram"][name]) == 400 for name in ("log_ratio", "raw", "trust_weighted"))
    assert list(document["findings"][0]) == ["name", "value", "level", "meaning", "source"]
    assert document["verdict"] == "trust"


def test_numbers_are_those_of_the_definitions(gipo, run):
    place, given = run(), columns()
    split = json.loads(gipo("inspect-weights", place, "--json").stdout)["splits"]["held_out"]
    x = given["log_ratio"][given["held_out"]].astype(float)
    ratio, weight = np.exp(x), np.exp(x - x**2 / 2)
    assert split["raw"]["ess"] == pytest.approx(ratio.sum() ** 2 / (ratio**2).sum())
    assert split["trust_weighted"]["mean"] == pytest.approx(weight.mean())
    assert split["trust_weighted"]["bound"] == pytest.approx(np.exp(0.5))
    assert split["kl"]["k1"] == pytest.approx(-x.mean())


def test_empty_split_has_no_numbers_and_other_objectives_no_bound(gipo, run):
    place = run(held_out=np.zeros(400, bool))
    (place / "config.toml").write_text('objective = "no-clip"\n[settings]\n')
    document = json.loads(gipo("inspect-weights", place, "--json").stdout)
    empty = numbers(document["splits"]["held_out"])
    assert empty[0] == 0 and set(empty[1:]) == {None}
    assert document["splits"]["all"]["trust_weighted"]["bound"] is None
    assert gipo("inspect-weights", place).exit_code == 0


def test_extreme_ratios_are_no_crash(gipo, run):
    place = run(log_ratio=np.linspace(-1e4, 1e4, 400))
    assert json.loads(gipo("inspect-weights", place, "--json").stdout)["verdict"] == "distrust"
    assert gipo("inspect-weights", place, "--plot", place / "w.png").exit_code == 0


def test_plain_text_fits_and_names_the_verdict(gipo, run):
    result = gipo("inspect-weights", run())
    assert "Verdict: trust" in result.stdout and "held out" in result.stdout and "\x1b" not in result.stdout


def test_plot_is_a_png_and_never_overwrites(gipo, run):
    place = run()
    picture = place / "w.png"
    assert gipo("inspect-weights", place, "--plot", picture).exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    refused = gipo("inspect-weights", place, "--plot", picture)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr == f"gipo: {picture} exists.\n      Add --force to replace it, or name another file.\n"
    assert gipo("inspect-weights", place, "--plot", picture, "--force").exit_code == 0
    wrong = gipo("inspect-weights", place, "--plot", "w.pdf")
    assert wrong.exit_code == 2
    assert wrong.stderr == "gipo: --plot writes PNG pictures, not 'w.pdf'.\n      Name it w.png.\n"


def test_weights_of_an_earlier_step_than_the_newest_checkpoint_are_called_that(gipo, run):
    place = run()
    (place / "checkpoints" / "step-00000007").mkdir(parents=True)
    assert gipo("inspect-weights", place).stderr == ""
    (place / "checkpoints" / "step-00001500").mkdir()
    found = gipo("inspect-weights", place, "--json")
    assert found.exit_code == 0
    assert found.stderr == (
        "warning: these are the weights after 7 updates, and there is a checkpoint of 1,500; "
        f"they are written again by: gipo train --resume {place}\n"
    )


def test_missing_directory_and_no_run(gipo, tmp_path):
    missing = gipo("inspect-weights", tmp_path / "nowhere")
    assert missing.exit_code == 3 and f"there is no run directory {tmp_path / 'nowhere'}." in missing.stderr
    other = gipo("inspect-weights", tmp_path)
    assert other.exit_code == 3 and f"{tmp_path} is not a run: it has no run.json." in other.stderr


def test_no_log_ratios_yet(gipo, run):
    place = run()
    (place / "log_ratios.npz").unlink()
    result = gipo("inspect-weights", place)
    assert result.exit_code == 3
    assert result.stderr == (
        f"gipo: {place} has no log_ratios.npz.\n"
        f"      Training writes it when it ends or is stopped; wait for that, or: gipo train --resume {place}\n"
    )
    (place / "run.json").write_text('{"status": "diverged"}')
    assert gipo("inspect-weights", place).stderr == (
        f"gipo: {place} has no log_ratios.npz.\n"
        f"      It diverged, which ended it before that was written. How it went: gipo report {place}\n"
    )


@pytest.mark.parametrize("damage", ["noise", "cut"])
def test_damaged_file(gipo, run, damage):
    path = run() / "log_ratios.npz"
    path.write_bytes(b"noise" if damage == "noise" else path.read_bytes()[:500])
    result = gipo("inspect-weights", path.parent)
    assert result.exit_code == 3 and f"gipo: {path} cannot be read: it is damaged.\n" in result.stderr


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


@pytest.mark.parametrize("how", ["object array", "bare pickle"])
def test_pickled_objects_are_never_read(gipo, run, how):
    place = run()
    path = place / "log_ratios.npz"
    member = io.BytesIO()
    if how == "object array":
        np.save(member, np.array([Trap()], object), allow_pickle=True)
    else:
        member.write(pickle.dumps(Trap()))
    with zipfile.ZipFile(path, "w") as archive:
        for name in columns():
            archive.writestr(f"{name}.npy", member.getvalue())
    result = gipo("inspect-weights", place)
    assert result.exit_code == 3 and f"{path} " in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"advantage": np.ones(3)}, "advantage in {} has the shape [3]; expected [400]."),
        ({"held_out": np.ones(400)}, "held_out in {} holds float64 values, which are of the wrong kind."),
        ({"step": np.zeros(3, int)}, "step in {} is no number of updates."),
        ({"log_ratio": np.r_[0.0, np.full(399, np.nan)]}, "log_ratio in {} is nan at row 1 (399 such rows)."),
        ({"advantage": np.r_[np.zeros(399), np.inf]}, "advantage in {} is inf at row 399 (1 such rows)."),
    ],
)
def test_wrong_columns(gipo, run, changed, message):
    place = run(**changed)
    result = gipo("inspect-weights", place)
    path = place / "log_ratios.npz"
    assert result.exit_code == 3
    assert result.stderr == (
        f"gipo: {message.format(path)}\n      Delete it and write it again with: gipo train --resume {place}\n"
    )


def test_unknown_objective_blames_the_file(gipo, run):
    place = run()
    (place / "config.toml").write_text('objective = "gpio"\n')
    result = gipo("inspect-weights", place)
    assert result.exit_code == 3
    assert (
        result.stderr == f"gipo: {place / 'config.toml'}: there is no objective 'gpio'.\n      Did you mean 'gipo'?\n"
    )


def test_the_last_line_of_the_metrics_says_the_same_of_the_held_out_steps(gipo, cartpole_log, tmp_path):
    run = tmp_path / "run"
    quick = ("--steps", "20", "--set", "critic_steps=40", "--set", "report_every=10", "--set", "certify=false")
    assert gipo("train", "--dataset", cartpole_log, "--out", run, "--quiet", *quick).exit_code == 0
    said = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["weights"]
    document = json.loads(gipo("inspect-weights", run, "--json").stdout)
    found = document["splits"]["held_out"]
    assert said == {
        "ess_fraction_trust_weighted": pytest.approx(found["trust_weighted"]["ess_fraction"]),
        "pareto_k": pytest.approx(found["raw"]["pareto_k"]),
        "mean_ratio": pytest.approx(found["raw"]["mean"]),
        "kl_k3": pytest.approx(found["kl"]["k3"]),
        "chi2": pytest.approx(next(f["value"] for f in document["findings"] if f["name"] == "chi2")),
        **{name: found[name] for name in ("ppo_dead_fraction", "outside_clip_fraction", "suppressed_fraction")},
    }
