"""`gemma-align reward fit`: an encoder from preference pairs, saved with the account of what it is worth.

config -> pairs -> policy -> encoder -> fit, stopped by dev pairs -> held-out accuracy beside the floors -> folder

The dev pairs are cut from the training pairs by first turn. The report split says what the encoder is worth, and
decides nothing.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from gemma_align.config import Config
from gemma_align.data.splits import fingerprint
from gemma_align.data.tasks import load_task
from gemma_align.errors import RunDirError
from gemma_align.experiments.environment import describe_environment
from gemma_align.experiments.reward_account import BAG_OF_WORDS, ENCODER, SHORTER, account, account_table
from gemma_align.experiments.subject import untrained
from gemma_align.models.policy import Policy
from gemma_align.rewards.encoder.build import build_encoder
from gemma_align.rewards.encoder.files import RECORD, save_encoder
from gemma_align.rewards.encoder.model import RewardEncoder
from gemma_align.rewards.fitting.fit import FitReport, fit_encoder, pair_differences
from gemma_align.rewards.fitting.floors import bag_of_words, shorter_wins
from gemma_align.rewards.fitting.pairs import Pairs, cut_dev, pairs_of, part_of
from gemma_align.trainers.progress import choose_progress
from gemma_align.trainers.schedule import num_updates
from gemma_align.types import Example


def reward_fit(config: Config) -> Path:
    """Fits the encoder that `reward.encoder` describes; returns its folder, `output_dir`.

    Raises:
        UserError: data or weights can't be had or used, or the folder holds something already. Nothing is fitted then.
    """
    folder, settings = Path(config.output_dir), config.reward.encoder
    _require_free(folder)
    progress = choose_progress()
    task = load_task(config.task, config.data, needs=("response", "rejected"))
    known, held_out = pairs_of(task.examples("train")), pairs_of(task.examples("report"))
    _cut(known, config)  # says what is wrong with the pairs before any weights are loaded
    for line in task.report.lines():
        progress.say(line)
    policy = None if settings.backbone == "minilm" else untrained(config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        values = fit_into(folder, config, known, held_out, policy, progress.say)
    except OSError as error:
        raise RunDirError(f"Could not write {folder}: {error.strerror or error}. Give another output_dir=…") from error
    console = Console(highlight=False)
    if values["held_out"] is None:
        console.print("the report split holds no pairs (a response and a rejected one): nothing is said of unseen ones")
    else:
        console.print(account_table(f"{config.task}, report split", values["held_out"]))
    console.print(f"the encoder is in {folder}; use it with reward.encoder.path={folder}", soft_wrap=True)
    return folder


def fit_into(
    folder: Path,
    config: Config,
    known: Sequence[Example],
    held_out: Sequence[Example],
    policy: Policy | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Fits to the configured part of the known pairs, writes the encoder into a folder, and returns its account.

    Raises:
        DataError: too few pairs.
        OSError: the folder can't be written.
    """
    settings = config.reward.encoder
    pairs = _cut(known, config)
    encoder = build_encoder(settings, policy, seed=config.seed)
    bar = choose_progress().bar("fit", num_updates(len(pairs.fit), settings.batch_size, settings.epochs, None))
    try:
        fitted = fit_encoder(encoder, pairs, settings, seed=config.seed, on_update=bar.show)
    finally:
        bar.close()
    say(_summary(settings.backbone, fitted))
    values = _account(encoder, fitted, pairs, held_out, config, fingerprint(known))
    save_encoder(encoder, settings, folder, values)
    return values


def _cut(known: Sequence[Example], config: Config) -> Pairs:
    settings, seed = config.reward.encoder, config.data.seed
    return cut_dev(part_of(known, settings.part, settings.gold_share, seed), settings.dev_share, seed)


def _require_free(folder: Path) -> None:
    if (folder / RECORD).exists():
        raise RunDirError(
            f"{folder} holds a fitted encoder already: give another folder with output_dir=…, or delete it"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunDirError(f"{folder} holds other files: give a new or an empty folder with output_dir=…")


def _summary(backbone: str, fitted: FitReport) -> str:
    best = fitted.history[fitted.best_epoch - 1]
    return (
        f"{backbone}: {fitted.num_trained:,} weights fitted to {fitted.num_pairs:,} pairs in {fitted.seconds:.0f} s; "
        f"epoch {fitted.best_epoch} of {len(fitted.history)} kept: {fitted.num_dev:,} dev pairs, "
        f"loss {best.dev_loss:.3f}, accuracy {best.dev_accuracy:.3f}; {fitted.num_cut:,} rows were cut to max_length"
    )


def _account(
    encoder: RewardEncoder, fitted: FitReport, pairs: Pairs, held_out: Sequence[Example], config: Config, known: str
) -> dict[str, Any]:
    confidence, slope = config.evaluation.confidence, float(encoder.slope)
    floor = bag_of_words(pairs.fit, pairs.dev)

    def measured(some: Sequence[Example]) -> dict[str, Any]:
        differences = {
            ENCODER: pair_differences(encoder, some),
            BAG_OF_WORDS: floor(some),
            SHORTER: shorter_wins(some),
        }
        return account(differences, slope, confidence)

    return {
        "task": config.task,
        "seed": config.seed,
        "data": {
            "train": config.data.train,
            "train_fingerprint": known,  # of all parts
            "seed": config.data.seed,
            "fit_fingerprint": fingerprint(pairs.fit),
            "dev_fingerprint": fingerprint(pairs.dev),
            "held_out_fingerprint": fingerprint(held_out) if held_out else None,
        },
        "dev": measured(pairs.dev),  # chose the epoch, the scale and the slope: too good by a little
        "held_out": measured(held_out) if held_out else None,
        "fit": fitted.to_dict(),
        "environment": describe_environment(),
    }
