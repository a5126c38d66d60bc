"""A student with a head for each member of its ensemble, which it mimics one by one.

Shapes: N rows, M heads, C classes.
"""

import copy

import torch
from torch import Tensor, nn

from distill.contracts.errors import InvalidSpec
from distill.contracts.models import HeadsSpec
from distill.science.ensembles import aggregate
from distill.science.models.classifier import Classifier


class ManyHeads(Classifier):
    """A classifier of M times C classes, read as M heads that are aggregated as the ensemble is.

    Source: Zuchniak (2023), arXiv:2302.00444.
    """

    shares_M: Tensor  # noqa: N815 - the name carries the shape

    def __init__(self, single: Classifier, spec: HeadsSpec) -> None:
        """``single`` gives ``len(spec.weights)`` times C logits; it is taken over."""
        nn.Module.__init__(self)
        self.single = single
        self.spec = spec
        weights_M = torch.tensor(spec.weights, dtype=torch.float64)
        self.register_buffer("shares_M", (weights_M / weights_M.sum()).float(), persistent=False)

    @property
    def net(self) -> nn.Module:  # type: ignore[override]  # the same net, one level deeper
        """The net that holds all weights."""
        return self.single.net

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, C) float32 whose softmax is the aggregate of the heads'."""
        return self.together(self.heads(inputs))

    def heads(self, inputs: Tensor) -> Tensor:
        """Each head's logits, (N, M, C) float32."""
        logits: Tensor = self.single(inputs)  # (N, M C)
        # the exported program takes any number of rows, and `len` would make that a constant
        return logits.reshape(logits.shape[0], len(self.spec.weights), -1)

    def together(self, heads_NMC: Tensor) -> Tensor:
        """The heads' logits as one, (N, C)."""
        shares_NM = self.shares_M.expand(heads_NMC.shape[0], -1)
        return aggregate(heads_NMC, shares_NM, how=self.spec.aggregate, temperature=1.0)


def folded(model: ManyHeads) -> Classifier:
    """The same student with one linear head, which is the weighted mean of the former ones.

    Raises:
        InvalidSpec: the heads' logits aren't averaged, or they are no linear layer called ``head``.
    """
    check_foldable(model)
    head: nn.Linear = model.net.head  # type: ignore[assignment]
    num_heads = len(model.spec.weights)
    one = nn.Linear(head.in_features, head.out_features // num_heads, bias=head.bias is not None)
    shares_M = model.shares_M.to(head.weight)
    with torch.no_grad():
        one.weight.copy_(torch.einsum("m,mcd->cd", shares_M, head.weight.reshape(num_heads, -1, head.in_features)))
        if head.bias is not None:
            one.bias.copy_(torch.einsum("m,mc->c", shares_M, head.bias.reshape(num_heads, -1)))
    single = copy.deepcopy(model.single)
    single.net.head = one.to(head.weight)
    return single


def check_foldable(model: ManyHeads) -> None:
    """See that `folded` would be exact.

    Raises:
        InvalidSpec: it would not.
    """
    if model.spec.aggregate != "mean_logit" or not isinstance(getattr(model.net, "head", None), nn.Linear):
        raise InvalidSpec(
            "ensemble.export: this student's heads can't be folded into one: that needs 'aggregate: mean_logit' and a "
            "student whose last layer is linear and called 'head', as those of the zoo; set 'export: heads'",
            field="ensemble.export",
            expected="heads",
            got="folded",
        )
