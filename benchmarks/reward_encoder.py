"""Out-of-fold accuracy of the reward's encoder on HH-RLHF's harmless pairs, and a learning curve.

    python -m benchmarks.reward_encoder --backbone gemma_embeddings --folds 5

All pairs of the train and the validation file are parted into folds by first turn, so that no conversation's
beginning stands on both sides. Each fold is predicted by an encoder that was fitted to the others; its dev pairs are
cut from those. The floors are fitted and predicted in the same way. Every fold is written to a file of its own once it
is done, and a fold that has a file of the same settings is not computed again. `--train-only` leaves the validation
file out: settings are chosen so.

The learning curve fits to the first `--curve` pairs of a seeded order of the same training pairs. With `--fluency 0.1`
the hybrid reward of the same encoder is held against it, without fluency and with that weight a nat: what the
constraints cost in accuracy.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from benchmarks.data_folder import data_folder
from gemma_align.config import EncoderConfig, ModelConfig, RewardConfig
from gemma_align.config.constraints import ConstraintsConfig, FluencyConfig
from gemma_align.data.readers import read_file
from gemma_align.data.report import Ledger
from gemma_align.data.splits import fingerprint, hashed, subset
from gemma_align.data.tasks.safety import SAFETY
from gemma_align.experiments.files import write_json
from gemma_align.experiments.reward_account import BAG_OF_WORDS, ENCODER, SHORTER, account, account_table
from gemma_align.models.policy import Policy
from gemma_align.rewards.encoder.build import build_encoder
from gemma_align.rewards.encoder.model import RewardEncoder
from gemma_align.rewards.encoder.rows import Row
from gemma_align.rewards.fitting.fit import fit_encoder, pair_differences
from gemma_align.rewards.fitting.floors import bag_of_words, shorter_wins
from gemma_align.rewards.fitting.pairs import cut_dev, first_turn, pairs_of
from gemma_align.rewards.fluency import Reference
from gemma_align.rewards.hybrid import HybridReward
from gemma_align.types import Answer, Example

CONSTRAINED, FLUENT = "hybrid", "hybrid with fluency"


def read_pairs(train_only: bool) -> list[Example]:
    """All usable pairs, each once, with an id of its own."""
    pairs: dict[tuple[str, ...], Example] = {}
    for name in ("train",) if train_only else ("train", "validation"):
        path = data_folder() / "hh_rlhf_harmless" / f"{name}.jsonl"
        for i, item in enumerate(read_file(path, "hh_rlhf", SAFETY.cue, Ledger())):
            pairs.setdefault(SAFETY.identity(item.example), dataclasses.replace(item.example, id=f"{name}-{i}"))
    return list(pairs_of(list(pairs.values())))


def predict(
    fit: list[Example],
    held: list[Example],
    settings: EncoderConfig,
    policy: Policy | None,
    seed: int,
    known: dict[Row, Tensor],
    fluency: float | None,
) -> dict[str, Any]:
    """Score differences of the held-out pairs by the encoder, as log-odds, by the floors, and by the hybrid reward."""
    pairs = cut_dev(fit, settings.dev_share, seed)
    encoder = build_encoder(settings, policy, seed=seed)
    report = fit_encoder(encoder, pairs, settings, seed=seed, known=known)
    with encoder.remembering(known):
        ours = pair_differences(encoder, held) * float(encoder.slope)  # log-odds compare between folds
        hybrids = {}
        if fluency is not None:
            assert policy is not None
            hybrids[CONSTRAINED] = by_hybrid(encoder, held, policy, 0.0).tolist()
            hybrids[FLUENT] = by_hybrid(encoder, held, policy, fluency).tolist()
    return {
        "ids": [example.id for example in held],
        ENCODER: ours.tolist(),
        BAG_OF_WORDS: bag_of_words(pairs.fit, pairs.dev)(held).tolist(),
        SHORTER: shorter_wins(held).tolist(),
        **hybrids,
        "fit": report.to_dict(),
    }


def by_hybrid(encoder: RewardEncoder, held: list[Example], policy: Policy, fluency: float) -> NDArray[np.float64]:
    """(N,) chosen - rejected of the default hybrid reward, with so much a nat of surprise."""
    settings = RewardConfig(constraints=ConstraintsConfig(fluency=FluencyConfig(weight=fluency)))
    hybrid = HybridReward("safety", settings, encoder, reference=Reference(policy) if fluency else None)
    examples = [example for example in held for _ in range(2)]
    answers = [Answer(text) for example in held for text in (example.response or "", example.rejected or "")]
    parts = range(0, len(answers), 32)
    total = torch.cat([hybrid.score(examples[i : i + 32], answers[i : i + 32]).total for i in parts]).view(-1, 2)
    return np.asarray((total[:, 0] - total[:, 1]).double().numpy(), dtype=np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="gemma_embeddings", choices=("gemma_embeddings", "minilm", "gemma"))
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", type=int, nargs="*", help="these folds alone, counted from 0")
    parser.add_argument("--num-pairs", type=int, help="at most so many pairs, drawn with the seed")
    parser.add_argument("--curve", type=int, nargs="*", default=[], help="numbers of training pairs for the curve")
    parser.add_argument("--fluency", type=float, help="hold the hybrid reward against it, with this weight too")
    parser.add_argument("--train-only", action="store_true", help="without the validation file: for choosing settings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", default=ModelConfig().checkpoint)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=JSON", help="settings of reward.encoder")
    parser.add_argument("--out", type=Path, default=Path("runs/reward_encoder"))
    args = parser.parse_args()

    given = {key: json.loads(value) for key, _, value in (text.partition("=") for text in args.set)}
    settings = EncoderConfig.model_validate({"backbone": args.backbone, **given})
    pairs = subset(read_pairs(args.train_only), args.num_pairs, args.seed)
    fold_of = [hashed(args.seed, "fold", first_turn(example)) % args.folds for example in pairs]
    policy: Policy | None = None
    done: dict[str, list[dict[str, Any]]] = {}
    known_features: dict[Row, Tensor] = {}  # of rows, for all folds: what is frozen knows no fold
    for size in (None, *args.curve):
        for fold in args.only if args.only is not None else range(args.folds):
            what = {
                "settings": settings.model_dump(mode="json"),
                "checkpoint": None if args.backbone == "minilm" else args.checkpoint,
                "seed": args.seed,
                "fold": [fold, args.folds],
                "size": size,
                "data": fingerprint(pairs),
                "fluency": args.fluency if size is None else None,
            }
            name = f"{args.backbone}-fold{fold}of{args.folds}" + (f"-{size}pairs" if size else "")
            path = args.out / f"{name}-seed{args.seed}.json"
            known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
            if known is None or known["what"] != what:
                if policy is None and (args.backbone != "minilm" or args.fluency is not None):
                    policy = Policy.load(ModelConfig(checkpoint=args.checkpoint))
                held = [e for e, f in zip(pairs, fold_of, strict=True) if f == fold]
                fit = [e for e, f in zip(pairs, fold_of, strict=True) if f != fold]
                found = predict(
                    list(subset(fit, size, args.seed)),
                    held,
                    settings,
                    policy,
                    args.seed,
                    known_features,
                    what["fluency"],
                )
                known = {"what": what, **found}
                args.out.mkdir(parents=True, exist_ok=True)
                write_json(path, known)
                print(f"{path}: {found['fit']['seconds']:.0f} s", flush=True)
            done.setdefault(f"{size} training pairs" if size else "all training pairs", []).append(known)
    console = Console(highlight=False)
    for title, folds in done.items():
        differences = {
            name: np.concatenate([np.asarray(fold[name], dtype=np.float64) for fold in folds])
            for name in (ENCODER, BAG_OF_WORDS, SHORTER, CONSTRAINED, FLUENT)
            if name in folds[0]
        }
        values = account(differences, 1.0, 0.95)
        console.print(account_table(f"{args.backbone}, {title}, {len(folds)} of {args.folds} folds", values))
        console.print(f"{sum(f['fit']['seconds'] for f in folds):.0f} s of fitting\n")
        write_json(args.out / f"{args.backbone}-{title.replace(' ', '_')}-seed{args.seed}.json", values)


if __name__ == "__main__":
    main()
