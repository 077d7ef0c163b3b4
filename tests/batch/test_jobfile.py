"""Job files: what they come to, and every mistake told with its line."""

import pytest

from gipo_cli.batch.jobfile import read_jobs
from gipo_cli.batch.lines import line_of
from gipo_cli.errors import SettingError


@pytest.fixture
def jobs_of(tmp_path):
    def read(text):
        path = tmp_path / "jobs.toml"
        path.write_text(text)
        return read_jobs(path).jobs

    return read


MATRIX = """
[defaults]
dataset = "hopper-medium"
steps = 10
fail_if = "held_out.kl > 1"

[matrix]
objective = ["gipo"]
sigma = [0.5, 1.0]
seed = [0, 1]
"""


def test_a_matrix_is_every_combination_over_the_defaults(jobs_of):
    jobs = jobs_of(MATRIX)
    assert [job.name for job in jobs] == [
        "gipo_sigma-0.5_seed-0", "gipo_sigma-0.5_seed-1", "gipo_sigma-1.0_seed-0", "gipo_sigma-1.0_seed-1",
    ]  # fmt: skip
    assert [(job.config.settings["sigma"], job.config.seed) for job in jobs] == [(0.5, 0), (0.5, 1), (1, 0), (1, 1)]
    assert {(job.config.dataset, job.config.steps, job.fail_if) for job in jobs} == {
        ("hopper-medium", 10, ("held_out.kl > 1",))
    }


def test_what_is_excluded_is_left_out_and_what_is_included_is_added_where_it_fits(jobs_of):
    jobs = jobs_of(
        MATRIX
        + """
[[exclude]]
sigma = 0.5
seed = 1
[[include]]
sigma = 1.0
learning_rate = 1e-3
[[include]]
objective = "sapo"
"""
    )
    found = {job.name: job.config for job in jobs}
    # What an include adds is of the job's name, too.
    assert list(found) == [
        "gipo_sigma-0.5_seed-0", "gipo_sigma-1.0_seed-0_learning_rate-0.001",
        "gipo_sigma-1.0_seed-1_learning_rate-0.001", "sapo",
    ]  # fmt: skip
    assert [config.learning_rate for config in found.values()] == [1e-4, 1e-3, 1e-3, 1e-4]
    assert found["sapo"].objective == "sapo"


def test_several_matrices_and_jobs_of_their_own(jobs_of):
    jobs = jobs_of(
        """
defaults = {dataset = "hopper-medium"}
[[matrix]]
objective = ["gipo"]
sigma = ["auto"]
[[matrix]]
objective = ["ppo-clip", "sapo"]
[[job]]
name = "mine"
seed = 3
fail_if = ["certificate.certified == false"]
"""
    )
    assert [job.name for job in jobs] == ["gipo_sigma-auto", "ppo-clip", "sapo", "mine"]
    assert jobs[0].config.steer_sigma == "kl"
    assert (jobs[3].config.seed, jobs[3].fail_if) == (3, ("certificate.certified == false",))


JOB = "[[job]]\ndataset = 'x'\n"
NO_NAME = "cannot be the name of a job, since its directory is called so."
GIPO = "objective 'gipo'"
AXES = "objective, seed, sigma"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[matrix]\nseed = 1", ":2: seed is 1; a matrix wants a list.", "Write seed = [...]."),
        ("[matrix]\ndataset = [", ": Invalid", None),
        ("a = " + "[" * 5000 + "]" * 5000, ": Invalid", None),
        ("[matrx]\nseed = [1]", ":1: there is no table 'matrx'.", "Did you mean 'matrix'?"),
        (MATRIX + "\n[[exclude]]\nseed = 7\n", ":12: this excludes no job.", f"Axes of the matrix: {AXES}."),
        (MATRIX + "# x\nstepz = [\n1,\n]\n", ":12: there is no setting 'stepz'.", "Did you mean 'steps'?"),
        (MATRIX.replace("steps = 10", "steps = -1"), ":4: steps is -1; expected a number above 0.", ""),
        (MATRIX.replace("0.5, 1.0", "0.5, -1"), f":9: sigma of the {GIPO} is -1.0; expected a number above 0.", ""),
        (MATRIX.replace('"gipo"', '"gippo"'), ":8: there is no objective 'gippo'.", "Did you mean 'gipo'?"),
        (MATRIX.replace("out.kl", "out.kk"), ":5: --fail-if 'held_out.kk > 1': the result has no held_out.kk.", None),
        ("[[job]]\nseed = 1", ":1: no dataset is named.", "Try: gipo train --dataset hopper-medium"),
        (JOB + "name = '../a'", f":3: '../a' {NO_NAME}", None),
        (JOB + "name = 'logs'", f":3: 'logs' {NO_NAME}", None),
        (JOB + "name = 'jobs.json'", f":3: 'jobs.json' {NO_NAME}", None),
        (MATRIX + "[[include]]\nseed = 0\nbatch_size = -1", ":13: batch_size is -1; expected a number above 0.", ""),
        (JOB + "settings = 3", ":3: settings is 3; expected a table.", ""),
        (JOB + "[job.settings]\nsigmas = 3", ":4: the objective 'gipo' has no setting 'sigmas'.", None),
        (JOB + JOB, ":3: two jobs are called x.", "Leave one out, or name one: name = ..."),
        ("[exclude]\nseed = 1", ":1: exclude is no list of tables.", "Write [[exclude]]."),
        ("job = 3", ":1: job is no list of tables.", "Write [[job]]."),
        (JOB + "[slurm]\nacount = 'x'", ":4: there is no setting of [slurm] 'acount'.", "Did you mean 'account'?"),
        (JOB + "[slurm]\nmem = 16", ":4: mem of [slurm] is 16; expected text, as in \"16GB\".", ""),
        (JOB + "[slurm]\ntime = 0", ":4: time of [slurm] is 0; expected minutes, or text as in \"1-12:00:00\".", ""),
        (JOB + "[ray]\nnum_gpus = true", ":4: num_gpus of [ray] is True; expected a number above 0.", ""),
        ("slurm = 3\n" + JOB, ":1: slurm is no table.", "Write [slurm]."),
        (JOB + "name = 'slurm'", f":3: 'slurm' {NO_NAME}", None),
        (JOB + "fail_if = 3", ":3: fail_if is 3; expected a list of expressions.", ""),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(jobs_of, tmp_path, text, message, hint):
    with pytest.raises(SettingError) as raised:
        jobs_of(text)
    expected = f"{tmp_path / 'jobs.toml'}{message}"
    if message == ": Invalid":  # the parser's own words
        assert raised.value.message.startswith(f"{tmp_path / 'jobs.toml'} is not TOML (")
        return
    assert raised.value.message == expected
    if hint is not None:
        assert raised.value.hint == hint


def test_settings_may_stand_in_their_tables_as_in_config_toml(jobs_of):
    (job,) = jobs_of("[[job]]\ndataset = 'x'\nobjective = 'sapo'\n[job.settings]\ntau_negative = 2\n")
    assert (job.config.objective, job.config.settings["tau_negative"]) == ("sapo", 2)


def test_a_file_without_jobs(jobs_of, tmp_path):
    with pytest.raises(SettingError, match=r"jobs\.toml has no jobs\.$"):
        jobs_of("[defaults]\nsteps = 3\n")


TOML = '''# a comment
"odd key" = """
[not.a.table]
x = 1
"""

[a.b]
"quoted" = 1
list = [
  1,  # [[c]]
  2,
]

[[c]]
x = 1
[[c]]
y.z = 2
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [(("odd key",), 2), (("a",), 7), (("a", "b", "quoted"), 8), (("a", "b", "list"), 9), (("c", 0), 14),
     (("c", 1), 16), (("c", 1, "y", "z"), 17), (("c", 1, "missing"), 16), ((), 1)],
)  # fmt: skip
def test_the_line_of_a_key(path, line):
    assert line_of(TOML, path) == line
