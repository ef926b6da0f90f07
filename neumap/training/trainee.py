"""The trained modules and their losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from neumap.model.codebooks import WORDS
from neumap.model.encoder import EMBEDDING, KeypointEncoder
from neumap.model.transformer import CANDIDATES, Sighting, Transformer
from neumap.training.examples import Example

# LATENT_STAGES, FEWEST_STAGES: largest and smallest number of bytes of a latent.
LATENT_STAGES, FEWEST_STAGES = 16, 4
# KMEANS_ROUNDS: iterations of k-means for the initial words.
KMEANS_ROUNDS = 12
# WORD_NOISE: noise in place of quantization before there are words.
WORD_NOISE = 0.4
# BACKWARDS, FOLLOW, COMMIT: loss weights of landmarks choosing keypoints, words following embeddings, and embeddings
# staying near words.
BACKWARDS, FOLLOW, COMMIT = 0.3, 2.0, 0.5
# MAX_SCALE: largest scale of similarities as logits; with a larger one single examples would dominate.
MAX_SCALE = 60.0
# IMPROBABLE: lower bound of probabilities, which keeps logarithms finite.
IMPROBABLE = 1e-30


class ResidualWords(nn.Module):
    """Learned words (S, 256, D) of a :class:`~neumap.model.codebooks.ResidualCodebook`."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Parameter(torch.zeros(LATENT_STAGES, WORDS, EMBEDDING))

    def forward(self, vectors: Tensor, stages: int) -> Tensor:
        """Return the sums of words (N, D) nearest to vectors (N, D), chosen greedily."""
        with torch.no_grad():
            rest, chosen = vectors.detach(), []
            for words in self.words[:stages]:
                chosen.append(_nearest(rest, words))
                rest = rest - words[chosen[-1]]
        return torch.stack([words[index] for words, index in zip(self.words, chosen, strict=False)]).sum(dim=0)

    @torch.no_grad()
    def start(self, vectors: Tensor, generator: torch.Generator) -> None:
        """Initialize words by k-means of vectors (N, D), stage by stage."""
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
    """All trained modules. With ``bf16`` the encoder runs in bfloat16."""

    def __init__(self, descriptor_size: int, bf16: bool = False) -> None:
        super().__init__()
        self.encoder = KeypointEncoder(descriptor_size)
        self.words = ResidualWords()
        self.transformer = Transformer()
        self._bf16 = bf16

    def embed(self, descriptors: Tensor, shape: Tensor) -> Tensor:
        """Return the encoder's embeddings (N, 64) of descriptors (N, D) and shapes (N, 3), in single precision."""
        with torch.autocast(descriptors.device.type, torch.bfloat16, enabled=self._bf16):
            embeddings: Tensor = self.encoder(descriptors, shape)
        return embeddings.float()


def landmark_embeddings(trainee: Trainee, example: Example) -> Tensor:
    """Return the unit mean embeddings (L, D) of an example's landmarks over the views that count."""
    each = trainee.embed(example.view_descriptors, example.view_shape).reshape(*example.counts.shape, EMBEDDING)
    return functional.normalize((each * example.counts[..., None]).sum(dim=1), dim=1)


def encoder_loss(
    trainee: Trainee, example: Example, stages: int, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the cross-entropy of an example's choices with latents of ``stages`` bytes (0: before there are words).

    ``generator`` is on the example's device.
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
    """Return the similarities (Q, L) of an example's keypoints and its landmarks, as latents of ``latent_bytes``."""
    return trainee.embed(example.descriptors, example.shape) @ _latents(trainee, example, latent_bytes).T


def _latents(trainee: Trainee, example: Example, latent_bytes: int) -> Tensor:
    return functional.normalize(trainee.words(landmark_embeddings(trainee, example), latent_bytes), dim=1)


@torch.no_grad()
def sighting(
    trainee: Trainee, example: Example, latent_bytes: int, keypoints: int, at_random: bool
) -> tuple[Sighting, Tensor]:
    """Return the transformer's input for the example's one image, and which of its candidates (N, K) are right.

    It has ``keypoints`` keypoints: those with the most distinct landmarks, as in a query, or the first (``at_random``).
    """
    embeddings, latents = trainee.embed(example.descriptors, example.shape), _latents(trainee, example, latent_bytes)
    similarity, code = (embeddings @ latents.T).topk(CANDIDATES, dim=1)
    clear = similarity[:, 0] - similarity[:, 1]
    asked = torch.arange(len(clear), device=clear.device) if at_random else clear.argsort(descending=True)
    asked = asked[:keypoints]
    similarity, code = similarity[asked], code[asked]
    right = example.right[asked].gather(1, code)
    points = example.points[code] - example.points[code[0, 0]]
    return Sighting(similarity, code, points, latents[code], embeddings[asked], example.rays[asked]), right


def transformer_loss(trainee: Trainee, told: Sighting, right: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the mean cross-entropy of the choices after each block, with the ``right`` candidates (N, K)."""
    rounds = trainee.transformer(told)
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
    """Return the cross-entropy of logits (Q, A + 1), the last for "none"; several of ``right`` (Q, A) may hold."""
    answers = logits[:, :-1].masked_fill(~right, -1e4).logsumexp(dim=1)
    return (logits.logsumexp(dim=1) - torch.where(right.any(dim=1), answers, logits[:, -1])).mean()


def mutual_choice_loss(logits: Tensor, none: Tensor, right: Tensor) -> Tensor:
    """Return the :func:`choice_loss` of logits (Q, L) and the logit of ``none`` (), plus ``BACKWARDS`` times that of
    visible landmarks choosing among the keypoints.

    Only sums touch all of the millions of logits, since few of them are ``right`` (Q, L).
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
    """Return a mask of length ``count`` that is true at each ``index`` (P,)."""
    return torch.zeros(count, dtype=torch.bool, device=index.device).index_fill(0, index, value=True)


def _surprise(answers: Tensor, whose: Tensor, total: Tensor) -> Tensor:
    """Return the negative log-probability (N,) that one of the right answers is chosen.

    ``answers`` (P,) are their logits, ``whose`` (P,) their rows, ``total`` (N,) the log-sums of all choices of a row.
    """
    probability = torch.zeros_like(total).index_add(0, whose, (answers - total[whose]).exp())
    return -probability.clamp_min(IMPROBABLE).log()


def _mean_of(values: Tensor, chosen: Tensor) -> Tensor:
    # by weights: boolean indexing would synchronize the GPU
    return torch.where(chosen, values, 0.0).sum() / chosen.sum().clamp_min(1)


def _share_right(logits: Tensor, right: Tensor) -> Tensor:
    chosen = right.gather(1, logits.argmax(dim=1, keepdim=True))[:, 0]
    return _mean_of(chosen.float(), right.any(dim=1))
