"""Pre-training the frozen decoder on many places: ``neumap pretrain``.

Training matches use. Landmarks are mean embeddings of their views, quantized by a residual codebook; keypoints of
held-out images must choose theirs among some thousands.

1. The encoder, by cross-entropy of the similarities; after a third of the steps with the codebook, which is learned
   jointly (vector quantization with the straight-through gradient, van den Oord et al. 2017). A trained encoder can be
   trained further, in other places.
2. The transformer, on the candidates of the finished encoder, after the smallest useful similarity was measured.

A checkpoint is written every few hundred steps, and training resumes from it. On several GPUs (``torchrun``) each
process draws its own examples, and gradients are averaged.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as distributed
from torch import Tensor, nn

from neumap.errors import ConfigError
from neumap.model.decoder import FrozenDecoder
from neumap.model.encoder import EMBEDDING, KeypointEncoder
from neumap.training.examples import Augmentation, Example, ExampleSource
from neumap.training.scenes import TrainingScene
from neumap.training.trainee import (
    FEWEST_STAGES,
    LATENT_STAGES,
    Trainee,
    encoder_loss,
    landmark_embeddings,
    sighting,
    similarities,
    transformer_loss,
)

# BEFORE_WORDS: fraction of the steps without words.
BEFORE_WORDS = 1 / 3
# WARMUP: fraction of the steps with a rising learning rate. WEIGHT_DECAY: that of AdamW.
WARMUP, WEIGHT_DECAY = 0.05, 1e-3
# GOING_ON_RATE: learning rate for a trained encoder, relative to that for a new one.
GOING_ON_RATE = 0.4
# CHANCE: fraction of wrong pairs above KeypointEncoder.min_similarity. SIMILARITY_BINS: bins of the histogram of
# similarities.
CHANCE, SIMILARITY_BINS = 1 / 300, 4000
# LATENT_BYTES: bytes of a latent in the measurement of that similarity.
LATENT_BYTES = 8
# KMEANS_EXAMPLES: number of examples for the initial words.
KMEANS_EXAMPLES = 12
# REPORT_EVERY, SAVE_EVERY: steps between two log records, and between two checkpoints.
REPORT_EVERY, SAVE_EVERY = 100, 500

Log = Callable[[dict[str, Any]], object]


@dataclass(frozen=True)
class PretrainSettings:
    """Settings of a pre-training, by default the small configuration.

    A step of the encoder uses ``keypoints`` of ``images`` images of one place, a step of the transformer
    ``transformer_keypoints`` of one image. ``bf16`` runs the encoder in bfloat16, but not similarities and distances,
    which need precision.
    """

    steps: int = 8000
    transformer_steps: int = 3000
    images: int = 4
    keypoints: int = 2048
    transformer_keypoints: int = 256
    landmarks: int = 4096
    views: int = 2
    learning_rate: float = 1e-3
    transformer_rate: float = 1.5e-3
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0
    device: str = "cpu"
    bf16: bool = False

    def __post_init__(self) -> None:
        if min(self.steps, self.transformer_steps) < 10:
            raise ConfigError("training needs 10 steps or more")


def pretrain(
    scenes: Sequence[TrainingScene],
    settings: PretrainSettings,
    checkpoint: str | os.PathLike[str],
    log: Log = lambda _: None,
    start: FrozenDecoder | None = None,
) -> Trainee:
    """Train on scenes, resuming from ``checkpoint`` if it exists.

    With ``start`` encoder and words are initialized from that decoder, with a lower learning rate; the transformer is
    new. ``log`` gets a record every hundred steps: stage, step, losses, fraction of right choices, seconds. Raises
    :class:`~neumap.errors.ConfigError` for a checkpoint that is damaged or has other settings or scenes, and ValueError
    for no usable scenes.
    """
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    torch.manual_seed(settings.seed)
    device = torch.device(settings.device)
    source = ExampleSource(scenes, settings.seed + 1000 * rank, settings.augmentation, device)
    trainee = Trainee(source.descriptor_size, settings.bf16)
    if start is not None:
        trainee.encoder.load_state_dict(start.encoder.state_dict())
        trainee.words.words.data.copy_(torch.from_numpy(start.codebook.words))
    run = _Run(trainee.to(device), source, settings, Path(checkpoint), log, rank, start.decoder_id if start else "")
    run.encoder_stage()
    run.transformer_stage()
    return run.trainee.eval().requires_grad_(False).cpu()


class _Run:
    """Both stages with their checkpoint."""

    def __init__(
        self,
        trainee: Trainee,
        source: ExampleSource,
        settings: PretrainSettings,
        path: Path,
        log: Log,
        rank: int = 0,
        start: str = "",
    ) -> None:
        """Restore the checkpoint, if any. ``start`` is the id of the decoder from which ``trainee`` began."""
        self.trainee, self.source, self.settings = trainee, source, settings
        self.path, self.log, self.rank, self.start = path, log, rank, start
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.done = {"encoder": 0, "transformer": 0}
        self._optimizer_state: dict[str, Any] | None = None
        if path.exists():
            self._restore()

    def encoder_stage(self) -> None:
        trainee, s = self.trainee, self.settings
        if not (self.done["encoder"] or self.start):
            _start_with_components(trainee.encoder, [self._draw_images() for _ in range(KMEANS_EXAMPLES)])
        groups: list[dict[str, Any]] = [
            {"params": trainee.encoder.parameters()},
            {"params": trainee.words.parameters(), "weight_decay": 0.0},
        ]
        first_with_words = 0 if self.start else int(BEFORE_WORDS * s.steps)

        def loss_of(step: int) -> tuple[Tensor, dict[str, Tensor]]:
            if step == first_with_words and not self.start:
                self._start_words()
            stages = 0
            if step >= first_with_words:
                stages = self._latent_bytes()
            return encoder_loss(trainee, self._draw_images(), stages, self.source.generator)

        self._train("encoder", groups, s.steps, s.learning_rate * (GOING_ON_RATE if self.start else 1), loss_of)

    def transformer_stage(self) -> None:
        trainee, s = self.trainee, self.settings
        trainee.encoder.requires_grad_(False)
        trainee.words.requires_grad_(False)
        if not self.done["transformer"]:
            trainee.encoder.min_similarity.fill_(self._similarity_by_chance())

        def loss_of(step: int) -> tuple[Tensor, dict[str, Tensor]]:
            # one image: the positions of its keypoints say nothing about another image
            landmarks = self._between(s.landmarks // 3, s.landmarks * 3 // 2)
            example = self.source.draw(s.keypoints, landmarks, s.views)
            at_random = bool(self._between(0, 1))
            told, right = sighting(trainee, example, self._latent_bytes(), s.transformer_keypoints, at_random)
            return transformer_loss(trainee, told, right)

        groups = [{"params": trainee.transformer.parameters()}]
        self._train("transformer", groups, s.transformer_steps, s.transformer_rate, loss_of)

    def _between(self, least: int, most: int) -> int:
        return int(torch.randint(least, most + 1, (1,), generator=self.generator))

    def _latent_bytes(self) -> int:
        return self._between(FEWEST_STAGES, LATENT_STAGES)

    @torch.no_grad()
    def _similarity_by_chance(self) -> float:
        """Return the similarity that a fraction ``CHANCE`` of wrong pairs exceeds, the same in all processes."""
        similar = torch.zeros(SIMILARITY_BINS, device=self.settings.device)
        for _ in range(KMEANS_EXAMPLES):
            example = self._draw_images()
            similarity = similarities(self.trainee, example, LATENT_BYTES)
            similar += torch.histc(similarity[~example.right], SIMILARITY_BINS, -1.0, 1.0)
        if distributed.is_initialized():
            distributed.all_reduce(similar)
        exceeding = similar.flip(0).cumsum(0).flip(0) / similar.sum()
        return float((exceeding > CHANCE).sum()) * 2 / SIMILARITY_BINS - 1

    def _draw_images(self) -> Example:
        s = self.settings
        return self.source.draw(s.keypoints, s.landmarks, s.views, s.images)

    @torch.no_grad()
    def _start_words(self) -> None:
        vectors = [landmark_embeddings(self.trainee, self._draw_images()) for _ in range(KMEANS_EXAMPLES)]
        self.trainee.words.start(torch.cat(vectors), self.generator)
        if distributed.is_initialized():
            distributed.broadcast(self.trainee.words.words.data, 0)

    def _train(
        self,
        stage: str,
        groups: list[dict[str, Any]],
        steps: int,
        rate: float,
        loss_of: Callable[[int], tuple[Tensor, dict[str, Tensor]]],
    ) -> None:
        """Run steps of AdamW with warm-up and a cosine schedule, from where the checkpoint is."""
        optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
        if self._optimizer_state is not None and 0 < self.done[stage] < steps:
            optimizer.load_state_dict(self._optimizer_state["optimizer"])
            schedule.load_state_dict(self._optimizer_state["schedule"])
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        started, counted = time.perf_counter(), 0
        # read only when reported: reading would synchronize the GPU in every step
        sums: dict[str, Tensor] = {}
        for step in range(self.done[stage], steps):
            loss, figures = loss_of(step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            _average_gradients(parameters)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            done = self.done[stage] = step + 1
            sums = {name: sums.get(name, 0) + value for name, value in figures.items()}
            counted += 1
            if self.rank == 0 and (done % REPORT_EVERY == 0 or done == steps):
                means = {name: float(value) / counted for name, value in sums.items()}
                seconds = time.perf_counter() - started
                self.log({"stage": stage, "step": done, "of": steps, **means, "seconds": seconds})
                sums, counted = {}, 0
            if self.rank == 0 and (done % SAVE_EVERY == 0 or done == steps):
                self._save({"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()})

    def _identity(self) -> dict[str, Any]:
        """Return what a checkpoint must have in common: settings but those of the hardware, scenes, and start."""
        settings = {name: value for name, value in asdict(self.settings).items() if name not in ("device", "bf16")}
        return {"settings": settings, "keypoints": self.source.keypoints, "start": self.start}

    def _save(self, optimizer: dict[str, Any]) -> None:
        content = {
            **self._identity(),
            "done": self.done,
            "trainee": self.trainee.state_dict(),
            "optimizer": optimizer,
            "source": self.source.state(),
            "generator": self.generator.get_state(),
        }
        temporary = Path(f"{self.path}.part")
        torch.save(content, temporary)
        os.replace(temporary, self.path)

    def _restore(self) -> None:
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise ConfigError(f"{self.path} is no checkpoint of a training: remove it to begin anew") from error
        others = {
            "settings": f"with other settings ({content['settings']}): give the same options",
            "keypoints": "on other scenes: give the same places and recordings",
            "start": "from another start: give the same --start",
        }
        for name, ours in self._identity().items():
            if content.get(name) != ours:
                raise ConfigError(f"{self.path} is a training {others[name]}, or another folder")
        try:
            self.trainee.load_state_dict(content["trainee"])
        except RuntimeError as error:
            raise ConfigError(f"{self.path} is a training of another version: remove it to begin anew") from error
        self.done = dict(content["done"])
        self._optimizer_state = content["optimizer"]
        if self.rank:
            # the checkpoint is from the first process, and others must not repeat its draws
            self.source.begin_anew([self.settings.seed, self.rank, *self.done.values()])
        else:
            self.source.restore(content["source"])
        self.generator.set_state(content["generator"])


def _rate(step: int, steps: int) -> float:
    warm = max(1, int(WARMUP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + float(np.cos(np.pi * (step - warm) / max(1, steps - warm)))) + 0.005


def _average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    for parameter in parameters if distributed.is_initialized() else ():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        distributed.all_reduce(parameter.grad)
        parameter.grad /= distributed.get_world_size()


@torch.no_grad()
def _start_with_components(encoder: KeypointEncoder, examples: Sequence[Example]) -> None:
    """Initialize the linear part with the principal components of descriptors."""
    seen = torch.cat([example.view_descriptors for example in examples])
    axes = torch.linalg.eigh(seen.T @ seen)[1].flip(1)[:, :EMBEDDING]
    if distributed.is_initialized():
        axes = axes.contiguous()
        distributed.broadcast(axes, 0)
    encoder.linear.weight.copy_(axes.T)
