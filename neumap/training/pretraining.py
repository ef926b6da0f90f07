"""Pre-training the frozen decoder on many places: ``neumap pretrain``.

What is trained is what is used. Landmarks are means of the embeddings of their views, in the words of a residual
codebook; keypoints of images that were not used for them must choose theirs among some thousand.

1. The encoder, by cross-entropy of the similarities; after a third of the steps through the words, which are learned
   along (vector quantization with the straight-through gradient, van den Oord et al. 2017).
2. The attention, on the candidates that the finished encoder proposes. Before it, what similarity is worth anything is
   measured.

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

from neumap.errors import ConfigError
from neumap.model.attention import CANDIDATES, GeometricAttention
from neumap.model.codebooks import WORDS
from neumap.model.encoder import EMBEDDING, KeypointEncoder
from neumap.training.examples import Augmentation, Example, ExampleSource
from neumap.training.scenes import TrainingScene

# STAGES: of the residual codebook, bytes of the longest latent; FEWEST_STAGES: of the shortest that is trained for.
STAGES, FEWEST_STAGES = 16, 4
# BEFORE_WORDS: share of the steps before the words; WORD_NOISE: length of the noise that stands for them until then.
BEFORE_WORDS, WORD_NOISE = 1 / 3, 0.4
# WARMUP: share of the steps in which the learning rate rises; LAST_RATE: share of it that is left at the end.
WARMUP, LAST_RATE, WEIGHT_DECAY = 0.05, 0.005, 1e-3
# weights of: landmarks choosing keypoints, words following embeddings, embeddings staying near words
BACKWARDS, FOLLOW, COMMIT = 0.3, 2.0, 0.5
# MAX_SCALE: of similarities as logits: sharper choices would only learn the training's places by heart.
MAX_SCALE = 60.0
# CHANCE: share of wrong pairs that exceed KeypointEncoder.min_similarity; SIMILARITY_BINS: that they are counted in.
CHANCE, SIMILARITY_BINS = 1 / 300, 4000
# IMPROBABLE: what is less probable than this is not learned from: its logarithm would not be finite.
IMPROBABLE = 1e-30
# KMEANS_EXAMPLES: that words, components and the similarity by chance are taken from.
KMEANS_ROUNDS, KMEANS_EXAMPLES = 12, 12
# REPORT_EVERY, SAVE_EVERY: steps.
REPORT_EVERY, SAVE_EVERY = 100, 500

Figures = dict[str, Tensor]
Log = Callable[[dict[str, Any]], object]


@dataclass(frozen=True)
class PretrainSettings:
    """The small configuration by default.

    A step of the encoder asks ``images`` of one place about so many ``keypoints`` together, one of the attention a
    single image about ``attention_keypoints``. ``bf16`` runs the encoder in bfloat16, but not similarities and
    distances, where precision counts.
    """

    steps: int = 8000
    attention_steps: int = 2500
    images: int = 4
    keypoints: int = 2048
    attention_keypoints: int = 512
    landmarks: int = 4096
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
    """Learned words (S, 256, D) of a :class:`~neumap.model.codebooks.ResidualCodebook`."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Parameter(torch.zeros(STAGES, WORDS, EMBEDDING))

    def forward(self, vectors: Tensor, stages: int) -> Tensor:
        """The sums of words (N, D) nearest to vectors (N, D), chosen greedily."""
        rest, found = vectors.detach(), []
        for words in self.words[:stages]:
            found.append(words[_nearest(rest, words.detach())])
            rest = rest - found[-1].detach()
        return torch.stack(found).sum(dim=0)

    @torch.no_grad()
    def start(self, vectors: Tensor, generator: torch.Generator) -> None:
        """Words by k-means of vectors (N, D), stage by stage."""
        rest = vectors.detach()
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
    return torch.addmm((words**2).sum(dim=1), vectors, words.T, alpha=-2).argmin(dim=1)


class Trainee(nn.Module):
    """All that is trained. With ``bf16`` its encoder runs in bfloat16."""

    def __init__(self, bf16: bool = False) -> None:
        super().__init__()
        self.encoder = KeypointEncoder()
        self.words = ResidualWords()
        self.attention = GeometricAttention()
        self._bf16 = bf16

    def embed(self, descriptors: Tensor, shape: Tensor) -> Tensor:
        """The encoder's embeddings (N, 64) of descriptors (N, 256) and shapes (N, 3), in single precision."""
        with torch.autocast(descriptors.device.type, torch.bfloat16, enabled=self._bf16):
            embeddings: Tensor = self.encoder(descriptors, shape)
        return embeddings.float()


def pretrain(
    scenes: Sequence[TrainingScene],
    settings: PretrainSettings,
    checkpoint: str | os.PathLike[str],
    log: Log = lambda _: None,
) -> Trainee:
    """Train on scenes, going on from ``checkpoint`` where there is one of the same settings.

    ``log`` gets a record every hundred steps: stage, step, losses, share of right choices, seconds. Raises
    :class:`~neumap.errors.ConfigError` for a checkpoint that is damaged, of other settings or of other scenes, and
    ValueError for no usable scenes.
    """
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    torch.manual_seed(settings.seed)
    device = torch.device(settings.device)
    source = ExampleSource(scenes, settings.seed + 1000 * rank, settings.augmentation, device)
    run = _Run(Trainee(settings.bf16).to(device), source, settings, Path(checkpoint), log, rank)
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
        trainee, s = self.trainee, self.settings
        if not self.done["encoder"]:
            _start_with_components(trainee.encoder, [self._draw_images() for _ in range(KMEANS_EXAMPLES)])
        groups: list[dict[str, Any]] = [
            {"params": trainee.encoder.parameters()},
            {"params": trainee.words.parameters(), "weight_decay": 0.0},
        ]
        first_with_words = int(BEFORE_WORDS * s.steps)

        def loss_of(step: int) -> tuple[Tensor, Figures]:
            if step == first_with_words:
                self._start_words()
            stages = 0
            if step >= first_with_words:
                stages = int(torch.randint(FEWEST_STAGES, STAGES + 1, (1,), generator=self.generator))
            return encoder_loss(trainee, self._draw_images(), stages, self.source.generator)

        self._train("encoder", groups, s.steps, s.learning_rate, loss_of)

    def attention_stage(self) -> None:
        trainee, s = self.trainee, self.settings
        trainee.encoder.requires_grad_(False)
        trainee.words.requires_grad_(False)
        if not self.done["attention"]:
            trainee.encoder.min_similarity.fill_(self._similarity_by_chance())

        def loss_of(step: int) -> tuple[Tensor, Figures]:
            # of one image: where its keypoints are tells nothing about those of another
            example = self.source.draw(s.attention_keypoints, s.landmarks, s.views)
            return attention_loss(trainee, example, s.latent_bytes)

        groups = [{"params": trainee.attention.parameters()}]
        self._train("attention", groups, s.attention_steps, s.attention_rate, loss_of)

    def _draw_images(self) -> Example:
        s = self.settings
        return self.source.draw(s.keypoints, s.landmarks, s.views, s.images)

    @torch.no_grad()
    def _start_words(self) -> None:
        vectors = [landmark_embeddings(self.trainee, self._draw_images()) for _ in range(KMEANS_EXAMPLES)]
        self.trainee.words.start(torch.cat(vectors), self.generator)
        if distributed.is_initialized():
            distributed.broadcast(self.trainee.words.words.data, 0)

    @torch.no_grad()
    def _similarity_by_chance(self) -> float:
        """What a share ``CHANCE`` of the wrong pairs exceeds, the same for all processes."""
        similar = torch.zeros(SIMILARITY_BINS, device=self.settings.device)
        for _ in range(KMEANS_EXAMPLES):
            example = self._draw_images()
            similarity = similarities(self.trainee, example, self.settings.latent_bytes)
            similar += torch.histc(similarity[~example.right], SIMILARITY_BINS, -1.0, 1.0)
        if distributed.is_initialized():
            distributed.all_reduce(similar)
        exceeding = similar.flip(0).cumsum(0).flip(0) / similar.sum()
        return float((exceeding > CHANCE).sum()) * 2 / SIMILARITY_BINS - 1

    def _train(
        self,
        stage: str,
        groups: list[dict[str, Any]],
        steps: int,
        rate: float,
        loss_of: Callable[[int], tuple[Tensor, Figures]],
    ) -> None:
        """Take steps of AdamW with warm-up and a cosine schedule, from where the checkpoint is."""
        optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
        if self._optimizer_state is not None and 0 < self.done[stage] < steps:
            optimizer.load_state_dict(self._optimizer_state["optimizer"])
            schedule.load_state_dict(self._optimizer_state["schedule"])
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        started, counted = time.perf_counter(), 0
        # not read before they are told: a GPU would wait for that in every step
        sums: Figures = {}
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
            # the checkpoint is of the first process, and the others must not repeat its draws
            self.source.begin_anew([self.settings.seed, self.rank, *self.done.values()])
        else:
            self.source.restore(content["source"])
        self.generator.set_state(content["generator"])

    def _identity(self) -> dict[str, Any]:
        """What a training must go on with: the settings but for where it runs, and the scenes."""
        settings = {name: value for name, value in asdict(self.settings).items() if name not in ("device", "bf16")}
        return {"settings": settings, "keypoints": self.source.keypoints}


def _rate(step: int, steps: int) -> float:
    warm = max(1, int(WARMUP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + float(np.cos(np.pi * (step - warm) / max(1, steps - warm)))) + LAST_RATE


def _average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    for parameter in parameters if distributed.is_initialized() else ():
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


def landmark_embeddings(trainee: Trainee, example: Example) -> Tensor:
    """Unit mean embeddings (L, D) of an example's landmarks over the views that count."""
    each = trainee.embed(example.view_descriptors, example.view_shape).reshape(*example.counts.shape, EMBEDDING)
    return functional.normalize((each * example.counts[..., None]).sum(dim=1), dim=1)


def encoder_loss(trainee: Trainee, example: Example, stages: int, generator: torch.Generator) -> tuple[Tensor, Figures]:
    """Cross-entropy of an example's choices with latents of ``stages`` bytes (0: before there are words).

    ``generator`` is of the example's device.
    """
    encoder = trainee.encoder
    keypoints = trainee.embed(example.descriptors, example.shape)
    latents = landmark_embeddings(trainee, example)
    quantization = torch.zeros((), device=latents.device)
    if stages:
        found = trainee.words(latents, stages)
        follow = ((found - latents.detach()) ** 2).sum(dim=1).mean()
        commit = ((found.detach() - latents) ** 2).sum(dim=1).mean()
        quantization = FOLLOW * follow + COMMIT * commit
        latents = functional.normalize(latents + (found - latents).detach(), dim=1)
    else:
        noise = torch.randn(latents.shape, generator=generator, device=latents.device)
        latents = functional.normalize(latents + WORD_NOISE * noise / EMBEDDING**0.5, dim=1)
    logits = keypoints @ (latents * encoder.log_scale.exp().clamp(max=MAX_SCALE)).T
    loss = mutual_choice_loss(logits, encoder.none, example.right)
    with torch.no_grad():
        right = _share_right(logits, example.right)
    return loss + quantization, {"loss": loss.detach(), "right": right, "words": quantization.detach()}


def similarities(trainee: Trainee, example: Example, latent_bytes: int) -> Tensor:
    """The similarity (Q, L) of an example's keypoints and its landmarks, as latents of so many bytes."""
    latents = functional.normalize(trainee.words(landmark_embeddings(trainee, example), latent_bytes), dim=1)
    return trainee.embed(example.descriptors, example.shape) @ latents.T


def attention_loss(trainee: Trainee, example: Example, latent_bytes: int) -> tuple[Tensor, Figures]:
    """Mean cross-entropy of all rounds of an example's choices among the candidates of the finished encoder."""
    with torch.no_grad():
        similarity, index = similarities(trainee, example, latent_bytes).topk(CANDIDATES, dim=1)
        right = example.right.gather(1, index)
    rounds = trainee.attention(similarity, example.points[index], example.rays)
    loss = torch.stack([choice_loss(logits, right) for logits in rounds]).mean()
    with torch.no_grad():
        figures = {
            "loss": choice_loss(rounds[-1], right),
            "right": _share_right(rounds[-1][:, :-1], right),
            "loss before": choice_loss(rounds[0], right),
            "right before": _share_right(rounds[0][:, :-1], right),
        }
    return loss, figures


def choice_loss(logits: Tensor, right: Tensor) -> Tensor:
    """Cross-entropy of logits (Q, A + 1), the last for "none", where any of several answers may be ``right`` (Q, A)."""
    answers = logits[:, :-1].masked_fill(~right, -1e4).logsumexp(dim=1)
    return (logits.logsumexp(dim=1) - torch.where(right.any(dim=1), answers, logits[:, -1])).mean()


def mutual_choice_loss(logits: Tensor, none: Tensor, right: Tensor) -> Tensor:
    """The :func:`choice_loss` of logits (Q, L) and the logit of ``none`` (), and that of the landmarks that are shown
    choosing among the keypoints, ``BACKWARDS`` times.

    There are millions of logits and hundreds of ``right`` (Q, L) ones, so that only sums over all look at all.
    """
    keypoint, landmark = right.nonzero(as_tuple=True)
    answers = logits[keypoint, landmark]
    of_keypoints = torch.logaddexp(logits.logsumexp(dim=1), none)
    chosen = torch.where(
        _named(keypoint, right.shape[0]), _surprise(answers, keypoint, of_keypoints), of_keypoints - none
    )
    of_landmarks = _surprise(answers, landmark, logits.logsumexp(dim=0))
    return chosen.mean() + BACKWARDS * _mean_of(of_landmarks, _named(landmark, right.shape[1]))


def _named(index: Tensor, count: int) -> Tensor:
    """Which of ``count`` an ``index`` (P,) names."""
    return torch.zeros(count, dtype=torch.bool, device=index.device).index_fill(0, index, value=True)


def _surprise(answers: Tensor, whose: Tensor, total: Tensor) -> Tensor:
    """The negative logarithm (N,) of the probability that one of the ``answers`` (P,), ``whose`` (P,) they are, is
    chosen, where ``total`` (N,) are the logarithms of the sums of all choices.
    """
    probability = torch.zeros_like(total).index_add(0, whose, (answers - total[whose]).exp())
    return -probability.clamp_min(IMPROBABLE).log()


def _mean_of(values: Tensor, chosen: Tensor) -> Tensor:
    # by weights: a GPU would have to be asked for the length of an index
    return torch.where(chosen, values, 0.0).sum() / chosen.sum().clamp_min(1)


def _share_right(logits: Tensor, right: Tensor) -> Tensor:
    chosen = right.gather(1, logits.argmax(dim=1, keepdim=True))[:, 0]
    return _mean_of(chosen.float(), right.any(dim=1))
