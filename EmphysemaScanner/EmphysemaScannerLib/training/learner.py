"""A network that learns from one label a volume: its loss, its AUC on the tuning split, its optimiser."""

from __future__ import annotations

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional

from .plan import Plan

Batch = tuple[Tensor, ...]  # as ``Volumes`` gives them, one volume after the other


class Learner(lightning.LightningModule):
    """A network that learns from one label a volume.

    Args:
        network: answers with ``.logit``.
        plan: how it learns.
        total_steps: of the learning rate's whole schedule.
        class_weights: in the loss, of negative and of positive volumes.
    """

    def __init__(
        self, network: nn.Module, plan: Plan, total_steps: int, class_weights: tuple[float, float] = (1.0, 1.0)
    ) -> None:
        super().__init__()
        self.network, self.plan, self.total_steps = network, plan, total_steps
        self.class_weights = class_weights
        self._answers: list[Tensor] = []

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """The loss of one batch, which Lightning minimises and averages over the epoch."""
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True, batch_size=1)
        return loss

    def loss(self, batch: Batch) -> Tensor:
        """Weighted cross entropy of the volumes' logits, a scalar in float32.

        Args:
            batch: normalised volumes (B, T, 1, H, W), labels (B,) 0 or 1, and the volumes' numbers (B,).
        """
        x, label, _ = batch
        negative, positive = self.class_weights
        weight = torch.where(label > 0, positive, negative)
        logit: Tensor = self.network(x).logit.float()
        return functional.binary_cross_entropy_with_logits(logit, label, weight)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Keep each tuning volume's number, logit and label until the epoch ends."""
        x, label, number = batch
        self._answers.append(torch.stack([number.float(), self.network(x).logit.float(), label]))

    def on_validation_epoch_end(self) -> None:
        """AUC and loss of the whole tuning split: every process gets all answers, each volume's once."""
        answers = torch.cat(self._answers, 1)  # (3, N)
        self._answers.clear()
        parts = [torch.empty_like(answers) for _ in range(self.trainer.world_size)]
        if len(parts) > 1:
            torch.distributed.all_gather(parts, answers)
        else:
            parts = [answers]
        by_number = {int(row[0]): row[1:] for row in torch.cat(parts, 1).T.cpu()}
        logit, label = torch.stack([by_number[k] for k in sorted(by_number)]).double().unbind(1)
        both = 0 < label.sum() < len(label) and bool(logit.isfinite().all())
        self.log("val_auc", float(roc_auc_score(label, logit)) if both else 0.5, prog_bar=True)
        self.log("val_loss", functional.binary_cross_entropy_with_logits(logit, label).float(), prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW, with a one cycle schedule of the learning rate that rises over the first 5 % of all steps."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.plan.learning_rate, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.plan.learning_rate, total_steps=self.total_steps + 1, pct_start=0.05
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
