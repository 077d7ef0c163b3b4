"""`gipo batch JOBS.toml`: many runs from one file, idempotent, on this machine or a cluster."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gipo_cli.commands import MaxTimeExit
from gipo_cli.errors import BatchError, GipoError, InterruptedRun, OutOfTime, RunError

if TYPE_CHECKING:
    from gipo_cli.batch.directory import BatchDirectory
    from gipo_cli.batch.jobfile import JobFile
    from gipo_cli.training.time_limit import TimeLimit


def batch_run(
    jobs_file: Annotated[Path, typer.Argument(metavar="JOBS.toml", help="What to train.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="Batch directory; one that exists is gone on with. (default: batches/JOBS)")
    ] = None,
    executor: Annotated[
        str, typer.Option(metavar="NAME", help="What runs them: local (processes of this machine), slurm or ray.")
    ] = "local",
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Runs at a time. (default: one, of a cluster all; they share cores)"),
    ] = None,
    retries: Annotated[int, typer.Option(min=0, help="Times that a job which failed is tried again.")] = 0,
    max_time: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Have every job save and stop before this much time has passed: 50m, 1h30m."),
    ] = None,
    max_time_exit: MaxTimeExit = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file, print the jobs, run nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print no progress.")] = False,
) -> None:
    """Train every job of a file; what has finished is skipped, what was stopped goes on, what failed is tried again.

    The whole file is checked first. Jobs are ordinary runs in one directory: `gipo compare DIR` and `gipo report DIR`
    read them. Exit code 6 where a job failed, 4 where a gate did not hold.
    """
    from gipo_cli.batch import starts
    from gipo_cli.batch.attempt import command_of
    from gipo_cli.batch.directory import BatchDirectory
    from gipo_cli.batch.executors import require_executor
    from gipo_cli.batch.fates import fate_of
    from gipo_cli.batch.jobfile import read_jobs
    from gipo_cli.batch.running import run_jobs
    from gipo_cli.batch.summary import summarise
    from gipo_cli.rendering import terminal
    from gipo_cli.rendering.batch import BatchWatch, print_jobs, print_summary
    from gipo_cli.training.signals import stop_requested
    from gipo_cli.training.time_limit import time_limit

    began = time.monotonic()
    limit = time_limit(max_time, max_time_exit, began)
    file = read_jobs(jobs_file)
    open_executor = require_executor(executor)
    batch = BatchDirectory(out or Path("batches") / jobs_file.stem)
    batch.refuse_occupied(file.jobs)
    _find_logs(file, quiet, record=not dry_run)
    listed = starts.listed(file.jobs)
    if dry_run:
        print_jobs(batch, [(job, command_of(batch, job)) for job in listed], as_json=json)
        return
    again = f"gipo batch {jobs_file} --out {batch.path}" + (f" --executor {executor}" if executor != "local" else "")
    with batch:
        runner = open_executor(batch, jobs, file.clusters.get(executor, {}))
        batch.keep(file)
        try:
            with stop_requested(limit) as stop, BatchWatch(batch, listed, quiet) as watch:
                run_jobs(batch, listed, runner, retries, stop, watch.look)
        except OSError as error:
            raise RunError(
                f"{batch.path} cannot be written ({error.strerror}); what ran was asked to save and stop.",
                f"Mend that, then go on with: {again}",
            ) from error
        document = summarise(batch, [fate_of(batch, job) for job in listed], time.monotonic() - began)
        if json:
            terminal.json_document(document)
        else:
            print_summary(document)
    if stop.signalled is not None:
        raise InterruptedRun(
            f"stopped; {document['counts'].get('interrupted', 0)} jobs are saved half-way.",
            f"Go on with: {again}",
            stop.signalled,
        )
    if limit.given:
        _require_time(document, limit, again)
    _judge(batch, document)


def _find_logs(file: "JobFile", quiet: bool, record: bool) -> None:
    """Every log is there before anything runs; those of the catalog that have to be recorded are, once.

    Raises:
        SettingError, DataError: as `catalog.locate`, with the line on which the log is named.
    """
    from gipo_cli.data import catalog

    for dataset, line in {job.config.dataset: job.dataset_line for job in reversed(file.jobs)}.items():
        if dataset in catalog.ENTRIES and not record:
            continue
        try:
            catalog.locate(dataset, quiet)
        except GipoError as error:
            error.message = f"{line}: {error.message}"
            raise


def _require_time(document: dict[str, Any], limit: "TimeLimit", again: str) -> None:
    """What --max-time left undone is no failure, unless asked; one that failed of itself is.

    Raises:
        OutOfTime: some jobs have neither ended nor failed.
    """
    statuses = [job["status"] for job in document["jobs"]]
    left = [status for status in statuses if status not in ("finished", "gate failed")]
    if left and not {"failed", "diverged"} & {*left}:
        raise OutOfTime(
            f"--max-time {limit.given}: {len(left)} of {len(statuses)} jobs are left to go on with.",
            f"Go on with: {again}",
            limit.exit_code,
        )


def _judge(batch: "BatchDirectory", document: dict[str, Any]) -> None:
    """The exit code: failed jobs before gates, since a gate says something of a result that is there.

    Raises:
        BatchError: a job failed.
        GateError: a gate did not hold.
    """
    from gipo_cli.gates import GateError

    counts, total = document["counts"], len(document["jobs"])
    failed = [job for job in document["jobs"] if job["status"] not in ("finished", "gate failed")]
    if failed:
        raise BatchError(
            f"{len(failed)} of {total} jobs did not finish.",
            "\n".join(f"{job['job']}: {job['status']}: {job['error'] or 'no reason is known'}" for job in failed[:5])
            + f"\nWhat each said: {batch.path / 'logs'}",
        )
    if counts.get("gate failed"):
        lines = [f"{job['job']}: {job['error']}" for job in document["jobs"] if job["status"] == "gate failed"]
        raise GateError(f"gates did not hold in {len(lines)} of {total} jobs.", "\n".join(lines[:10]))
