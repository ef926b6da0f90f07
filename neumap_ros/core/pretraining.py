"""Pre-training the frozen decoder on many places: ``neumap pretrain``.

What is trained is what is used. Landmarks are means of the embeddings of their views, in the words of a residual
codebook; keypoints of images that were not used for them must choose theirs among some thousand.

1. The encoder, by cross-entropy of the similarities; after a third of the steps through the words, which are learned
   along (vector quantization with the straight-through gradient, van den Oord et al. 2017).
2. The attention, on the candidates that the finished encoder proposes.

A checkpoint is written every few hundred steps, and training goes on from it. On several GPUs (``torchrun``) every
process draws examples of its own, and gradients are averaged.
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
from torch.nn import functional

from neumap_ros.core.attention import CANDIDATES, GeometricAttention
from neumap_ros.core.encoder import EMBEDDING, KeypointEncoder
from neumap_ros.core.quantization import WORDS
from neumap_ros.core.training_data import Augmentation, Example, ExampleSource
from neumap_ros.core.training_scene import TrainingScene
from neumap_ros.errors import ConfigError

STAGES, FEWEST_STAGES = 16, 4
# share of the steps before the words, and noise that stands for them until then
BEFORE_WORDS, WORD_NOISE = 1 / 3, 0.4
WARMUP, WEIGHT_DECAY = 0.05, 1e-3
# weights of: landmarks choosing keypoints, words following embeddings, embeddings staying near words
BACKWARDS, FOLLOW, COMMIT = 0.3, 2.0, 0.5
MAX_SCALE = 60.0
KMEANS_ROUNDS, KMEANS_EXAMPLES = 12, 12
REPORT_EVERY, SAVE_EVERY = 100, 500

Log = Callable[[dict[str, Any]], object]


@dataclass(frozen=True)
class PretrainSettings:
    """The small configuration by default. ``bf16`` trains in bfloat16 where it is not precision that counts."""

    steps: int = 6000
    attention_steps: int = 2500
    keypoints: int = 512
    landmarks: int = 2048
    views: int = 2
    learning_rate: float = 1e-3
    attention_rate: float = 2e-3
    latent_bytes: int = 8
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0
    device: str = "cpu"
    bf16: bool = False

    def __post_init__(self) -> None:
        if min(self.steps, self.attention_steps) < 10 or not FEWEST_STAGES <= self.latent_bytes <= STAGES:
            raise ConfigError(f"training needs 10 steps or more, and latents {FEWEST_STAGES} to {STAGES} bytes")


class ResidualWords(nn.Module):
    """Learned words (S, 256, D) of a :class:`~neumap_ros.core.quantization.ResidualCodebook`."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Parameter(torch.zeros(STAGES, WORDS, EMBEDDING))

    def forward(self, vectors: Tensor, stages: int) -> Tensor:
        """The sums of words (N, D) nearest to vectors (N, D), chosen greedily."""
        with torch.no_grad():
            rest, chosen = vectors.detach().float(), []
            for words in self.words[:stages]:
                chosen.append(_nearest(rest, words))
                rest = rest - words[chosen[-1]]
        return torch.stack([words[index] for words, index in zip(self.words, chosen, strict=False)]).sum(dim=0)

    @torch.no_grad()
    def start(self, vectors: Tensor, generator: torch.Generator) -> None:
        """Words by k-means of vectors (N, D), stage by stage."""
        rest = vectors.detach().float()
        for words in self.words:
            centre = rest[torch.randperm(len(rest), generator=generator)[:WORDS].to(rest.device)].clone()
            for _ in range(KMEANS_ROUNDS):
                index = _nearest(rest, centre)
                held = torch.bincount(index, minlength=WORDS)
                total = torch.zeros_like(centre).index_add_(0, index, rest)
                centre = torch.where(held[:, None] > 0, total / held.clamp_min(1)[:, None], centre)
            words.copy_(centre)
            rest = rest - centre[_nearest(rest, centre)]


def _nearest(vectors: Tensor, words: Tensor) -> Tensor:
    return torch.as_tensor(((words**2).sum(dim=1) - 2 * vectors @ words.T).argmin(dim=1))


class Trainee(nn.Module):
    """All that is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = KeypointEncoder()
        self.words = ResidualWords()
        self.attention = GeometricAttention()


def pretrain(
    scenes: Sequence[TrainingScene],
    settings: PretrainSettings,
    checkpoint: str | os.PathLike[str],
    log: Log = lambda _: None,
) -> Trainee:
    """Train on scenes, going on from ``checkpoint`` where there is one of the same settings.

    ``log`` gets a record every hundred steps: stage, step, losses, share of right choices, seconds. Raises
    :class:`~neumap_ros.errors.ConfigError` for a checkpoint that is damaged, of other settings or of other scenes, and
    ValueError for no usable scenes.
    """
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    torch.manual_seed(settings.seed)
    device = torch.device(settings.device)
    source = ExampleSource(scenes, settings.seed + 1000 * rank, settings.augmentation)
    run = _Run(Trainee().to(device), source, settings, Path(checkpoint), log, rank)
    run.encoder_stage()
    run.attention_stage()
    return run.trainee.eval().requires_grad_(False).cpu()


class _Run:
    """Both stages with their checkpoint."""

    def __init__(
        self, trainee: Trainee, source: ExampleSource, settings: PretrainSettings, path: Path, log: Log, rank: int
    ) -> None:
        self.trainee, self.source, self.settings = trainee, source, settings
        self.path, self.log, self.rank = path, log, rank
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.done = {"encoder": 0, "attention": 0}
        self._optimizer_state: dict[str, Any] | None = None
        if path.exists():
            self._restore()

    def encoder_stage(self) -> None:
        encoder, words, s = self.trainee.encoder, self.trainee.words, self.settings
        if not self.done["encoder"]:
            _start_with_components(encoder, [self._draw() for _ in range(KMEANS_EXAMPLES)])
        groups: list[dict[str, Any]] = [
            {"params": encoder.parameters()},
            {"params": words.parameters(), "weight_decay": 0.0},
        ]
        first_with_words = int(BEFORE_WORDS * s.steps)

        def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
            if step == first_with_words:
                self._start_words()
            stages = 0
            if step >= first_with_words:
                stages = int(torch.randint(FEWEST_STAGES, STAGES + 1, (1,), generator=self.generator))
            return encoder_loss(encoder, words, self._draw(), stages, self.generator)

        self._train("encoder", groups, s.steps, s.learning_rate, loss_of)

    def attention_stage(self) -> None:
        encoder, words, attention, s = (
            self.trainee.encoder,
            self.trainee.words,
            self.trainee.attention,
            self.settings,
        )
        encoder.requires_grad_(False)
        words.requires_grad_(False)

        def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
            return attention_loss(encoder, words, attention, self._draw(), s.latent_bytes)

        self._train("attention", [{"params": attention.parameters()}], s.attention_steps, s.attention_rate, loss_of)

    def _draw(self) -> Example:
        s = self.settings
        example = self.source.draw(s.keypoints, s.landmarks, s.views)
        return Example(*(tensor.to(s.device) for tensor in example))

    def _start_words(self) -> None:
        with torch.no_grad():
            vectors = [landmark_embeddings(self.trainee.encoder, self._draw()) for _ in range(KMEANS_EXAMPLES)]
        self.trainee.words.start(torch.cat(vectors), self.generator)
        if distributed.is_initialized():
            distributed.broadcast(self.trainee.words.words.data, 0)

    def _train(
        self,
        stage: str,
        groups: list[dict[str, Any]],
        steps: int,
        rate: float,
        loss_of: Callable[[int], tuple[Tensor, dict[str, float]]],
    ) -> None:
        """Steps of AdamW with warm-up and a cosine schedule, from where the checkpoint is."""
        optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
        if self._optimizer_state is not None and 0 < self.done[stage] < steps:
            optimizer.load_state_dict(self._optimizer_state["optimizer"])
            schedule.load_state_dict(self._optimizer_state["schedule"])
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        started, counted = time.perf_counter(), 0
        sums: dict[str, float] = {}
        for step in range(self.done[stage], steps):
            with torch.autocast(self.settings.device.split(":")[0], torch.bfloat16, enabled=self.settings.bf16):
                loss, figures = loss_of(step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            _average_gradients(parameters)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            self.done[stage] = step + 1
            sums = {name: sums.get(name, 0.0) + value for name, value in figures.items()}
            counted += 1
            if self.rank == 0 and ((step + 1) % REPORT_EVERY == 0 or step + 1 == steps):
                means = {name: value / counted for name, value in sums.items()}
                seconds = time.perf_counter() - started
                self.log({"stage": stage, "step": step + 1, "of": steps, **means, "seconds": seconds})
                sums, counted = {}, 0
            if self.rank == 0 and ((step + 1) % SAVE_EVERY == 0 or step + 1 == steps):
                self._save(optimizer, schedule)

    def _save(self, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler) -> None:
        content = {
            "settings": _comparable(self.settings),
            "keypoints": self.source.keypoints,
            "done": self.done,
            "trainee": self.trainee.state_dict(),
            "optimizer": {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()},
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
        if content["settings"] != _comparable(self.settings):
            raise ConfigError(
                f"{self.path} is a training with other settings ({content['settings']}): "
                "give the same options, or another folder"
            )
        if content.get("keypoints") != self.source.keypoints:
            raise ConfigError(
                f"{self.path} is a training on other scenes: give the same places and recordings, or another folder"
            )
        self.done = dict(content["done"])
        self.trainee.load_state_dict(content["trainee"])
        self._optimizer_state = content["optimizer"]
        if self.rank:
            # the checkpoint is of the first process, and the others must not repeat its draws
            self.source.begin_anew([self.settings.seed, self.rank, *self.done.values()])
        else:
            self.source.restore(content["source"])
        self.generator.set_state(content["generator"])


def _comparable(settings: PretrainSettings) -> dict[str, Any]:
    """The settings a training must go on with: all but where it runs."""
    return {name: value for name, value in asdict(settings).items() if name not in ("device", "bf16")}


def _rate(step: int, steps: int) -> float:
    warm = max(1, int(WARMUP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + float(np.cos(np.pi * (step - warm) / max(1, steps - warm)))) + 0.005


def _average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    if not distributed.is_initialized():
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        distributed.all_reduce(parameter.grad)
        parameter.grad /= distributed.get_world_size()


@torch.no_grad()
def _start_with_components(encoder: KeypointEncoder, examples: Sequence[Example]) -> None:
    """The linear part becomes the principal components of descriptors."""
    seen = torch.cat([example.view_descriptors for example in examples])
    axes = torch.linalg.eigh(seen.T @ seen)[1].flip(1)[:, :EMBEDDING]
    if distributed.is_initialized():
        axes = axes.contiguous()
        distributed.broadcast(axes, 0)
    encoder.linear.weight.copy_(axes.T)


def landmark_embeddings(encoder: KeypointEncoder, example: Example) -> Tensor:
    """Unit mean embeddings (L, D) of an example's landmarks over the views that count."""
    each = encoder(example.view_descriptors, example.view_shape).unflatten(0, example.counts.shape)
    return functional.normalize((each * example.counts[..., None]).sum(dim=1), dim=1)


def encoder_loss(
    encoder: KeypointEncoder, words: ResidualWords, example: Example, stages: int, generator: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of an example's choices with latents of ``stages`` bytes (0: before there are words)."""
    keypoints = encoder(example.descriptors, example.shape)
    latents = landmark_embeddings(encoder, example)
    quantization = torch.zeros((), device=latents.device)
    if stages:
        found = words(latents, stages)
        follow = ((found - latents.detach()) ** 2).sum(dim=1).mean()
        commit = ((found.detach() - latents) ** 2).sum(dim=1).mean()
        quantization = FOLLOW * follow + COMMIT * commit
        latents = functional.normalize(latents + (found - latents).detach(), dim=1)
    else:
        noise = torch.randn(latents.shape, generator=generator).to(latents.device)
        latents = functional.normalize(latents + WORD_NOISE * noise / EMBEDDING**0.5, dim=1)
    logits = (keypoints @ latents.T).float() * encoder.log_scale.exp().clamp(max=MAX_SCALE)
    loss = choice_loss(torch.cat([logits, encoder.none.expand(len(logits), 1)], dim=1), example.right)
    shown = example.right.any(dim=0)
    if int(shown.sum()) > 4:
        loss = loss + BACKWARDS * choice_loss(_with_none(logits[:, shown].T), example.right[:, shown].T)
    with torch.no_grad():
        figures = {"loss": float(loss), "right": _share_right(logits, example.right), "words": float(quantization)}
    return loss + quantization, figures


def attention_loss(
    encoder: KeypointEncoder,
    words: ResidualWords,
    attention: GeometricAttention,
    example: Example,
    latent_bytes: int,
) -> tuple[Tensor, dict[str, float]]:
    """Mean cross-entropy of all rounds of an example's choices among the candidates of the finished encoder."""
    with torch.no_grad():
        keypoints = encoder(example.descriptors, example.shape)
        latents = functional.normalize(words(landmark_embeddings(encoder, example), latent_bytes), dim=1)
        similarity, index = (keypoints @ latents.T).float().topk(CANDIDATES, dim=1)
        right = example.right.gather(1, index)
    rounds = attention(similarity, example.points[index], example.rays)
    loss = torch.stack([choice_loss(logits, right) for logits in rounds]).mean()
    with torch.no_grad():
        figures = {
            "loss": float(choice_loss(rounds[-1], right)),
            "right": _share_right(rounds[-1][:, :-1], right),
            "loss before": float(choice_loss(rounds[0], right)),
            "right before": _share_right(rounds[0][:, :-1], right),
        }
    return loss, figures


def choice_loss(logits: Tensor, right: Tensor) -> Tensor:
    """Cross-entropy of logits (Q, A + 1), the last for "none", where any of several answers may be ``right`` (Q, A)."""
    answers = logits[:, :-1].masked_fill(~right, -1e4).logsumexp(dim=1)
    return (logits.logsumexp(dim=1) - torch.where(right.any(dim=1), answers, logits[:, -1])).mean()


def _with_none(logits: Tensor) -> Tensor:
    return torch.cat([logits, torch.full_like(logits[:, :1], -1e4)], dim=1)


def _share_right(logits: Tensor, right: Tensor) -> float:
    answerable = right.any(dim=1)
    if not answerable.any():
        return 0.0
    chosen = right.gather(1, logits.argmax(dim=1, keepdim=True))[:, 0]
    return float(chosen[answerable].float().mean())
