"""Trains the decoder that the maps of all places share, on virtual rooms, halls and courtyards. Resumes from what is in
WORK. Start it with torchrun to use several GPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from neumap.cli import options
from neumap.cli.progress import StageProgress
from neumap.features import DEFAULT

HELP = "train a decoder for all places, like the one that ships"

# SIZES: number of virtual places, training steps of the encoder and of the transformer.
SIZES = {"small": (130, 8000, 3000), "large": (400, 60_000, 20_000)}
# LONGEST_WAIT: of the other processes for the first one, which renders the places.
LONGEST_WAIT = timedelta(days=2)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="D.safetensors", help="the decoder to write")
    add("--work", type=Path, required=True, metavar="WORK", help="folder for places and checkpoint")
    add(
        "--config",
        choices=SIZES,
        default="small",
        help="small: for two cores; large: for a GPU, takes 12 GB (default: small)",
    )
    add("--places", type=options.count, metavar="N", help="virtual places to train on")
    add("--steps", type=options.count, metavar="N", help="training steps of the encoder")
    add("--transformer-steps", type=options.count, metavar="N", help="training steps of the transformer")
    add(
        "--recording",
        type=Path,
        action="append",
        default=[],
        metavar="SOURCE",
        help="also train on this recording with poses and depth; may be given again",
    )
    add("--start", type=Path, metavar="D.safetensors", help="start from the encoder of this decoder")
    add("--extractor", default=DEFAULT, metavar="NAME", help=f"of features the decoder reads (default: {DEFAULT})")
    add("--seed", type=options.seed, default=0, metavar="N", help="of places and training (default: 0)")
    add("--device", default="cpu", metavar="cpu", help="where to train: cpu or cuda (default: cpu)")
    add("--bf16", action="store_true", help="run the encoder in bfloat16")
    add("--threads", type=options.threads, metavar="N", help="use at most this many threads")


def run(args: argparse.Namespace) -> int:
    import torch
    from torch import distributed

    from neumap.errors import ConfigError
    from neumap.installation import need_extras
    from neumap.io.files import check_output
    from neumap.model.decoder import load_decoder, save_decoder
    from neumap.process import set_up, usable_cores
    from neumap.training.places import describe, training_scenes
    from neumap.training.pretraining import PretrainSettings, pretrain

    # check before rendering: many places are mapped without depth, which needs pycolmap
    need_extras("training", "pycolmap")
    started = time.perf_counter()
    check_output(args.out, device=False)
    set_up(args.threads)
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError("there is no CUDA device: train with --device cpu")
    start = load_decoder(args.start) if args.start else None
    if start is not None and start.extractor != args.extractor:
        raise ConfigError(f"{args.start} reads features of {start.extractor}: give --extractor {start.extractor}")
    places, steps, transformer_steps = SIZES[args.config]
    settings = PretrainSettings(
        steps=args.steps or steps,
        transformer_steps=args.transformer_steps or transformer_steps,
        seed=args.seed,
        device=f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if args.device == "cuda" else args.device,
        bf16=args.bf16,
    )
    first = args.seed * 1_000_000
    seeds = range(first, first + (args.places or places))
    curves = args.work / "curves.jsonl"
    load = partial(training_scenes, args.work / "places", seeds, args.recording, extractor=args.extractor)
    workers = min(args.threads or usable_cores(), usable_cores())
    with StageProgress() as progress, _processes(args.device) as rank:
        if rank == 0:
            load(workers, progress)
        if distributed.is_initialized():
            distributed.barrier()
        scenes = load(workers)
        if rank == 0:
            print(describe(scenes), flush=True)

        def log(record: dict[str, Any]) -> None:
            progress(record["stage"], record["step"], record["of"])
            with curves.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

        trainee = pretrain(scenes, settings, args.work / "checkpoint.pt", log, start)
    if rank == 0:
        save_decoder(args.out, args.extractor, trainee.encoder, trainee.transformer, trainee.words.words.numpy())
        size = args.out.stat().st_size
        print(f"{args.out}, {size / 1e6:.2f} MB, id {load_decoder(args.out).decoder_id}")
        print(f"trained in {(time.perf_counter() - started) / 60:.0f} min; the curves are in {curves}")
    return 0


@contextmanager
def _processes(device: str) -> Iterator[int]:
    """Yield the rank of this process among those that torchrun started, 0 without torchrun."""
    import torch
    from torch import distributed

    if "WORLD_SIZE" not in os.environ:
        yield 0
        return
    if device.startswith("cuda"):
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=LONGEST_WAIT)
    try:
        yield distributed.get_rank()
    finally:
        distributed.destroy_process_group()
