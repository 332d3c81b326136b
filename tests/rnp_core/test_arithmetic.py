"""Settings of PyTorch hold while something runs, and are put back; other GPUs are left alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnp_core.acceleration import accelerate
from rnp_core.architectures import build
from rnp_core.arithmetic import bfloat16_where_fast, full_float32, repeatable
from rnp_core.fold import fold_batch_norms
from rnp_core.model import SuspectModel
from tests.helpers.models import QuadrantNet, suspect
from tests.helpers.sets import quadrant_set

IMAGES = quadrant_set(4).images
CPU = torch.device("cpu")
CONVOLUTIONS = torch.backends.cudnn.conv  # type: ignore[attr-defined]


class _Noting(nn.Module):
    """Notes how its convolutions would compute on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.seen = QuadrantNet(), set[str]()

    def forward(self, images: Tensor) -> Tensor:
        self.seen.add(CONVOLUTIONS.fp32_precision)
        return self.net(images)

    def __deepcopy__(self, memo: dict[int, object]) -> _Noting:
        copy = _Noting()
        copy.seen = self.seen
        return copy


def test_full_float32_is_put_back() -> None:
    with contextlib.suppress(KeyError), full_float32():
        with full_float32():
            assert CONVOLUTIONS.fp32_precision == "ieee"
        assert CONVOLUTIONS.fp32_precision == "ieee"
        raise KeyError
    assert CONVOLUTIONS.fp32_precision == "tf32"


@pytest.mark.parametrize("compare", [accelerate, fold_batch_norms])
def test_faster_forms_are_compared_in_full_float32(
    compare: Callable[[SuspectModel, Tensor], SuspectModel],
) -> None:
    network = _Noting()
    compare(suspect(network), IMAGES)
    assert network.seen == {"ieee"}
    assert CONVOLUTIONS.fp32_precision == "tf32"


def test_the_same_numbers_and_the_old_state_back() -> None:
    state = torch.get_rng_state()
    drawn = []
    for _ in range(2):
        with repeatable(torch.device("cpu"), 5):
            assert torch.backends.cudnn.deterministic
            drawn.append(torch.rand(3))
    assert torch.equal(*drawn)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.backends.cudnn.deterministic


@pytest.mark.parametrize(("device", "touched"), [("cpu", []), ("cuda:1", ["cuda:1"])])
def test_only_the_gpu_of_the_model_is_asked(
    device: str, touched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, seeds = [], []

    @contextlib.contextmanager
    def current(gpu: torch.device) -> Iterator[None]:
        seeds.append(str(gpu))
        yield

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda gpu: asked.append(str(gpu)))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, gpu: None)
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda seed: seeds.append(seed))
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: seeds.append("all"))
    monkeypatch.setattr(torch.cuda, "device", current)
    with repeatable(torch.device(device), 5):
        pass
    assert asked == touched
    assert seeds == [*touched, *[5] * len(touched)]


class _Grouped(nn.Module):
    """A grouped convolution, called as few networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 1, 3))

    def forward(self, values: Tensor) -> Tensor:
        return F.conv1d(groups=4, input=values, weight=self.weight)


class _Attending(nn.Module):
    """Attention of tokens to each other, as networks write it by themselves."""

    def forward(self, tokens: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(
            attn_mask=None, query=tokens, key=tokens, value=tokens
        )


class _WithHeads(nn.Module):
    """The same by the module of PyTorch, with the mean of its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        attended, weights = self.inner(tokens, tokens, tokens)
        return attended + weights.mean()


@pytest.mark.parametrize(
    "make", [lambda: nn.Conv1d(4, 8, 3, groups=4), _Grouped, _Attending, _WithHeads]
)
def test_what_is_slow_in_bfloat16_computes_in_float32(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    layer, values = make(), torch.randn(2, 4, 4).bfloat16().requires_grad_()

    def there_and_back(given: Tensor) -> tuple[Tensor, Tensor]:
        found = layer(given)
        return found, torch.autograd.grad(found.float().square().sum(), [given])[0]

    with bfloat16_where_fast(CPU):
        found, gradient = there_and_back(values)
    exact, wanted = there_and_back(values.float())
    assert gradient.dtype == torch.bfloat16
    assert torch.allclose(found.float(), exact, rtol=2**-7, atol=1e-3)  # rounded at the end
    assert torch.allclose(gradient.float(), wanted, rtol=2**-6, atol=2e-2)


def test_dense_convolutions_compute_in_bfloat16() -> None:
    dense = nn.Conv2d(4, 8, 3)
    with bfloat16_where_fast(CPU):
        assert dense(torch.randn(2, 4, 6, 6)).dtype == torch.bfloat16
    assert dense(torch.randn(2, 4, 6, 6)).dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("mobilenet_v2_cifar", {}),
        ("vit_b_16", {"image_size": 12, "patch_size": 4, "width": 16, "depth": 2, "heads": 2}),
    ],
)
def test_mobilenets_and_transformers_answer_the_same_in_bfloat16(
    name: str, settings: dict[str, int]
) -> None:
    torch.manual_seed(0)
    model = suspect(build(name, num_classes=4, **settings))
    images = quadrant_set(4).images
    fast = accelerate(model, images, mixed_precision=True)
    assert fast.mixed_precision
    with torch.no_grad():
        exact = model(images)
        assert torch.allclose(fast(images), exact, atol=0.1 * float(exact.abs().max()))
