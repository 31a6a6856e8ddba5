"""Per-sample k-means: the assignment is Lloyd's, no cluster is empty, and means carry values, positions and gradients."""

from __future__ import annotations

import closed_form as form
import pytest
import torch
from sklearn.cluster import KMeans as Reference
from torch import Tensor

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import Embedding, EncoderConfig
from foundry_bench.methods.kmeans import KMeans, fill_empty, greedy_start, kmeans, squared_distances, to_means
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import make_student
from foundry_bench.teachers.transformer import PointTransformer

OFF = Context(variant="off-the-shelf")


@pytest.fixture
def patches(tiny_teacher: PointTransformer, clouds: PointCloudDataset) -> Patches:
    return tiny_teacher.tokenize(torch.from_numpy(clouds.points[:6, :256]))


@pytest.fixture
def tokens(tiny_teacher: PointTransformer, patches: Patches) -> Tensor:
    """(6, 16, 32): the tokens of real clouds."""
    return tiny_teacher.embed(patches).tokens


def means(x: Tensor, index: Tensor, count: int) -> Tensor:
    """Cluster means (count, D) of one sample x (T, D)."""
    return torch.stack([x[index == c].mean(dim=0) for c in range(count)])


def inertia(x: Tensor, index: Tensor, count: int) -> float:
    return float((x - means(x, index, count)[index]).square().sum())


@pytest.mark.parametrize("count", [1, 3, 6])
def test_is_lloyd_s_algorithm_on_every_sample(tokens: Tensor, count: int) -> None:
    seeds = greedy_start(squared_distances(tokens), count)
    for x, chosen, found in zip(tokens, seeds, kmeans(tokens, count, iterations=3), strict=True):
        index = torch.cdist(x, x[chosen]).argmin(dim=1)
        for _ in range(3):
            index = torch.cdist(x, means(x, index, count)).argmin(dim=1)
        assert torch.equal(found, index)


def test_distance_to_a_mean_needs_only_distances_between_rows(tokens: Tensor) -> None:
    index = torch.tensor([0, 2, 2, 0, 0, 2, 3, 3] * 2).expand(len(tokens), -1)
    found = to_means(squared_distances(tokens), index, 4)
    for x, distance in zip(tokens, found, strict=True):
        for cluster in (0, 2, 3):
            mean = x[index[0] == cluster].mean(dim=0)
            assert torch.allclose(distance[cluster], (x - mean).square().sum(dim=1), atol=1e-5)
    assert torch.isinf(found[:, 1]).all()


def test_start_is_deterministic_greedy_kmeans_plus_plus(tokens: Tensor) -> None:
    """Each seed lowers the sum of squared distances the most; the first is nearest to the mean."""
    before = torch.get_rng_state()
    seeds = greedy_start(squared_distances(tokens), 5)
    assert torch.equal(torch.get_rng_state(), before)
    for x, chosen in zip(tokens, seeds.tolist(), strict=True):
        assert chosen[0] == int((x - x.mean(dim=0)).square().sum(dim=1).argmin())
        for k in range(1, 5):
            left = [
                float((x[:, None] - x[[*chosen[:k], i]]).square().sum(dim=2).amin(dim=1).sum())
                for i in range(len(x))
            ]
            assert left[chosen[k]] == pytest.approx(min(left), abs=1e-5)


def test_clusters_are_about_as_tight_as_the_best_of_many_random_starts(tokens: Tensor) -> None:
    ours = sum(inertia(x, i, 5) for x, i in zip(tokens, kmeans(tokens, 5, 10), strict=True))
    best = sum(Reference(5, n_init=20, random_state=0).fit(x.numpy()).inertia_ for x in tokens)
    assert best <= ours * 1.0001
    assert ours < 1.1 * best


def test_no_cluster_is_empty_even_if_rows_are_equal() -> None:
    same = torch.ones(1, 6, 4)
    few = torch.randn(1, 3, 4).repeat(1, 4, 1)
    for x, count in ((same, 4), (same, 6), (few, 5), (few, 12)):
        index = kmeans(x, count, 10)
        assert index[0].unique().tolist() == list(range(count))


def test_an_empty_cluster_takes_the_farthest_row_that_leaves_none_empty() -> None:
    index = torch.tensor([[0, 0, 2, 0, 4]])
    own = torch.tensor([[0.1, 3.0, 9.0, 2.0, 0.0]])
    assert fill_empty(index, own, 5).tolist() == [[0, 1, 2, 3, 4]]
    assert torch.equal(fill_empty(index[:, :3] % 2, own[:, :3], 1), torch.zeros(1, 3, dtype=torch.long))


def test_clusters_are_of_the_sample_and_not_of_the_batch(tokens: Tensor) -> None:
    together = kmeans(tokens, 5, 10)
    assert torch.equal(together, torch.cat([kmeans(x[None], 5, 10) for x in tokens]))
    assert len({tuple(row) for row in together.tolist()}) > 1


def test_assignment_is_the_same_under_autocast(tokens: Tensor) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = kmeans(tokens, 6, 10)
    assert torch.equal(low, kmeans(tokens, 6, 10))


def test_tokens_and_positions_are_means_of_the_clusters_found_by_content(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches, tokens: Tensor
) -> None:
    student = make_student(KMeans(clusters=5), tiny_teacher, clouds, OFF)
    pos = tiny_teacher.positional_encoding(patches.centers)
    stream, _ = student.begin(Embedding(tokens, patches.centers), pos)
    assert torch.equal(stream.source, kmeans(tokens, 5, 10))
    for b, index in enumerate(stream.source):
        assert torch.allclose(stream.x[b], means(tokens[b], index, 5), atol=1e-6)
        assert torch.allclose(stream.pos[b], means(pos[b], index, 5), atol=1e-6)
        assert torch.equal(stream.size[b, :, 0], index.bincount().float())


def test_gradient_goes_through_the_means_and_not_through_the_assignment(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches, tokens: Tensor
) -> None:
    student = make_student(KMeans(clusters=5), tiny_teacher, clouds, Context()).train()
    x = tokens.clone().requires_grad_(True)
    stream, _ = student.begin(Embedding(x, patches.centers), torch.zeros_like(tokens))
    assert not stream.source.requires_grad
    stream.x.sum().backward()
    share = 1 / stream.size[..., 0].gather(1, stream.source)
    assert torch.allclose(x.grad, share[..., None].expand_as(x), atol=1e-6)


def test_the_order_of_the_patches_does_not_matter(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    student = make_student(KMeans(clusters=5), tiny_teacher, clouds, OFF)
    order = torch.randperm(16)
    with torch.no_grad():
        shuffled = student(Patches(patches.neighborhoods[:, order], patches.centers[:, order])).features
        assert torch.allclose(shuffled, student(patches).features[:, order], atol=1e-5)


def test_patches_copy_their_cluster_s_row_off_the_shelf_and_are_reconstructed_when_trained(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    for ctx, rows in ((OFF, 5), (Context(), 16)):
        with torch.no_grad():
            student = make_student(KMeans(clusters=5), tiny_teacher, clouds, ctx)
            if student.cau is not None:
                torch.nn.init.normal_(student.cau.fc2.weight, std=0.1)  # it starts at zero
            features = student(patches).features
        assert len(features[0].unique(dim=0)) == rows


@pytest.mark.parametrize("values", [{"clusters": 0}, {"iterations": -1}])
def test_refuses_what_it_cannot_do(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        KMeans(**values)


ZERO = KMeans(clusters=64)


def closed_form(method: KMeans, config: EncoderConfig, trains: bool) -> int:
    """Pairwise products of the tokens once, then all blocks on the clusters."""
    total = form.outside_of_blocks(config, trains)
    clusters = min(method.clusters, config.groups)
    return total + config.groups**2 * config.dim + config.depth * form.block(config, clusters)
