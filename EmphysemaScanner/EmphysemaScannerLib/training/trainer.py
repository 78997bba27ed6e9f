"""Lightning's trainer for a plan and a machine, or several."""

from __future__ import annotations

import importlib.util
import logging
import os
import warnings
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn

from ..models.conv_lstm import ConvLSTMNetwork
from ..scan.device import choose
from .checkpoints import Keeper, Watch, WholeCheckpoints
from .plan import Hardware, MixedPrecision, Plan, TrainingError

CLIP = 1.0  # largest norm of a step's gradient

_PRECISIONS: dict[MixedPrecision, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    MixedPrecision.FULL: "32-true",
    MixedPrecision.BFLOAT16: "bf16-mixed",
    MixedPrecision.FLOAT16: "16-mixed",
}


def make_trainer(
    network: nn.Module, plan: Plan, out: Path, hardware: Hardware, watch: Watch
) -> tuple[lightning.Trainer, Keeper]:
    """A trainer, and its callback that keeps the run in ``out``.

    Args:
        network: whose weights are kept.
        plan: how to train.
        out: the run's folder.
        hardware: devices and processes.
        watch: who sees the progress and may stop the run.

    Raises:
        TrainingError: there are not that many GPUs, or they don't have the precision.
        DeviceError: there is no such device.
    """
    devices, nodes = _processes(hardware)
    where = choose(hardware.device)
    cuda = where.type == "cuda"
    if cuda and devices > torch.cuda.device_count():
        raise TrainingError(f"{devices} GPUs were requested, {torch.cuda.device_count()} available; request fewer.")
    precision = plan.precision
    if precision is MixedPrecision.AUTO:
        half = MixedPrecision.BFLOAT16 if cuda and torch.cuda.is_bf16_supported() else MixedPrecision.FLOAT16
        precision = half if cuda else MixedPrecision.FULL
    if precision is MixedPrecision.FLOAT16 and not cuda:
        raise TrainingError("16-mixed needs an NVIDIA GPU; choose bf16-mixed or 32.")
    plugins: list[Any] = [WholeCheckpoints()]
    if SLURMEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))  # its checkpoints in mid-epoch would go before ours
    keeper = Keeper(network, out, plan.patience, watch)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="lightning")
        trainer = lightning.Trainer(
            max_epochs=plan.epochs,
            default_root_dir=out,
            accelerator={"cuda": "gpu"}.get(where.type, where.type),
            devices=devices,
            num_nodes=nodes,
            precision=_PRECISIONS[precision],
            sync_batchnorm=cuda and devices * nodes > 1,  # torch has none for the CPU
            use_distributed_sampler=False,
            gradient_clip_val=CLIP,
            callbacks=[keeper],
            plugins=plugins,
            logger=_tensorboard(out),
            log_every_n_steps=1,
            enable_progress_bar=watch.progress_bar,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
    return trainer, keeper


def _processes(hardware: Hardware) -> tuple[int, int]:
    """Processes on this machine, and machines; torchrun says both itself."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return hardware.devices, hardware.nodes
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    return here, int(os.environ["WORLD_SIZE"]) // here


def _tensorboard(out: Path) -> TensorBoardLogger | bool:
    if not any(importlib.util.find_spec(name) for name in ("tensorboard", "tensorboardX")):
        return False
    return TensorBoardLogger(out, name="", version="tensorboard")


def optimise(network: nn.Module, hardware: Hardware, device: torch.device) -> None:
    """What makes training faster and leaves what is learned as it is."""
    if isinstance(network, ConvLSTMNetwork):
        if hardware.compile:
            for unit in network.units:
                unit.slice_layers.compile()
        return
    if hardware.compile:
        network.compile()
    if device.type == "cuda":
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                flat = isinstance(module, nn.Conv2d)
                weight = module.weight
                weight.data = weight.data.contiguous(
                    memory_format=torch.channels_last if flat else torch.channels_last_3d
                )
