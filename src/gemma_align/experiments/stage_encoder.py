"""An encoder for a reward that asks for one with `reward.encoder.path: auto`, of a stage or of the evaluation that ends
a run: fitted once, found again later.

It is fitted to the pairs of the stage's own training data, or where the data has none to pairs made of it
(`stage_pairs.py`), and its accuracy is told of the tune split's; the report split isn't read. It lies beside the run
folder, as encoders/TASK-KEY with a fingerprint of everything that decides what comes out for a key: the next run of the
same data, weights and settings takes the same folder.
"""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from gemma_align.config import AUTO, Config
from gemma_align.data.splits import fingerprint
from gemma_align.data.task import LoadedTask
from gemma_align.errors import RunDirError
from gemma_align.experiments.files import json_text
from gemma_align.experiments.reward_fit import fit_into
from gemma_align.experiments.stage_pairs import with_pairs
from gemma_align.experiments.unfinished import unfinished
from gemma_align.models.policy import Policy
from gemma_align.rewards.encoder.files import FORMAT, RECORD, read_record
from gemma_align.rewards.fitting.pairs import pairs_of
from gemma_align.trainers.loop_state import capture_rng, restore_rng

Say = Callable[[str], None]


def wants_encoder(config: Config) -> bool:
    """Whether the reward of a configuration, a stage's own, needs one fitted."""
    return config.reward.alpha > 0 and config.reward.encoder.path == AUTO


def encoder_folder(config: Config, task: LoadedTask, policy: Policy) -> Path:
    """Where the encoder of a stage lies, or will."""
    reward = config.reward
    decides = {
        "format": FORMAT,
        "task": task.name,
        "train": fingerprint(task.examples("train")),
        "tune": fingerprint(task.examples("tune")),
        "data_seed": config.data.seed,
        "encoder": reward.encoder.model_dump(mode="json", exclude={"path"}),
        "corruptions": [reward.clinical.model_dump(mode="json"), reward.code.model_dump(mode="json")],
        "weights": policy.info.fingerprint,
        "prompt_format": policy.prompt_format.name,
    }
    key = sha256(json_text(decides).encode()).hexdigest()[:12]
    return Path(config.output_dir).parent / "encoders" / f"{task.name}-{key}"


def fit_encoder_once(config: Config, task: LoadedTask, policy: Policy, folder: Path, say: Say) -> None:
    """Fits the encoder into the folder where it isn't there yet; nobody's random numbers are drawn by it.

    Raises:
        DataError: the data has no pairs and none could be made of it.
        RunDirError: the folder can't be written.
    """
    if (folder / RECORD).exists():
        say(f"the reward's encoder: {folder}, {_worth(read_record(folder))}")
        return
    state = capture_rng()
    known = pairs_of(task.examples("train"))
    paired = task if known else with_pairs(task, config)
    pairs, held_out = pairs_of(paired.examples("train")), pairs_of(paired.examples("tune"))
    made = "the data's own" if known else "each reference against a corruption of it"
    say(f"the reward's encoder is fitted to {len(pairs):,} pairs ({made})")
    # The reward belongs to the data: runs with several seeds follow the same one
    fitted = config.model_copy(update={"seed": config.data.seed})
    try:
        with unfinished(folder) as place:
            record = fit_into(place, fitted, pairs, held_out, policy, say)
            _put(place, folder)
    except OSError as error:
        raise RunDirError(f"Could not write {folder}: {error.strerror or error}. Give another output_dir=…") from error
    finally:
        restore_rng(state)
    say(f"the reward's encoder: {folder}, {_worth(record)}")


def with_path(config: Config, folder: Path) -> Config:
    """The configuration with the encoder of a folder."""
    encoder = config.reward.encoder.model_copy(update={"path": str(folder)})
    return config.model_copy(update={"reward": config.reward.model_copy(update={"encoder": encoder})})


def _put(made: Path, folder: Path) -> None:
    """A folder appears whole or not at all; another process that was faster made the same one."""
    try:
        made.rename(folder)
    except OSError:
        if not (folder / RECORD).exists():
            raise


def _worth(record: dict[str, Any]) -> str:
    held_out = record.get("held_out")
    if not held_out:
        return "whose accuracy nothing is known of: the tune split has no pairs"
    accuracy = held_out["accuracy"]["encoder"]
    return (
        f"right in {100 * accuracy['mean']:.1f} % [{100 * accuracy['low']:.1f}, {100 * accuracy['high']:.1f}] of the "
        "tune split's pairs"
    )
